//! The part of Python's pickle machine that describes tensors.
//!
//! Instructions and their arguments are those of pickle protocol 2, as `pickletools` of Python documents them. Calls are
//! not made: `REDUCE` of a known constructor builds the node that stands for its result, any other one an opaque node.

use std::collections::BTreeMap;
use std::rc::Rc;

/// Most nodes of one pickle; a checkpoint needs about thirty per tensor.
const NODES_MAX: usize = 1 << 20;
/// Longest name of a class or function.
const GLOBAL_BYTES_MAX: usize = 256;

/// Index of a node.
pub(super) type NodeIndex = usize;

/// A value. Children are indices, so a deep tree is no deep recursion; what is copied is shared, so a short pickle cannot
/// ask for much memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Anything that is not needed.
    Opaque,
    /// An integer that fits.
    Integer(i64),
    /// Text.
    Text(Rc<str>),
    /// A tuple, which never changes: copies share it.
    Tuple(Rc<[NodeIndex]>),
    /// A list.
    List(Vec<NodeIndex>),
    /// A dictionary, ordered or not, as items in order of insertion.
    Dictionary(Vec<(NodeIndex, NodeIndex)>),
    /// A class or function by its qualified name.
    Global(Rc<str>),
    /// A storage: the class of its values and its key.
    Storage {
        /// For example `torch.FloatStorage`.
        kind: Rc<str>,
        /// Name of the bytes.
        key: Rc<str>,
    },
    /// A strided view of a storage; all are nodes.
    Tensor {
        /// A storage.
        storage: NodeIndex,
        /// First value.
        offset: NodeIndex,
        /// Tuple of sizes.
        shape: NodeIndex,
        /// Tuple of strides.
        strides: NodeIndex,
    },
}

/// A stack machine that has run, or runs.
#[derive(Debug, Default)]
pub(super) struct Machine {
    nodes: Vec<Node>,
    stack: Vec<NodeIndex>,
    /// Heights of the stack at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, NodeIndex>,
}

/// Reads arguments of instructions.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("the pickle ends at byte {} within an instruction", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn line(&mut self) -> Result<Rc<str>, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| format!("the pickle ends within a line at byte {}", self.at))?;
        let line = self.take(end + 1)?;
        Ok(text(&line[..end]))
    }
}

fn text(bytes: &[u8]) -> Rc<str> {
    String::from_utf8_lossy(bytes).into()
}

impl Machine {
    /// Runs the pickle at the start of `bytes`; returns the machine, its result, and the bytes used.
    pub(super) fn run(bytes: &[u8]) -> Result<(Self, NodeIndex, usize), String> {
        let mut machine = Self::default();
        let mut input = Input { bytes, at: 0 };
        loop {
            let at = input.at;
            let operation = input.byte()?;
            if operation == b'.' {
                let root = machine.pop()?;
                return Ok((machine, root, input.at));
            }
            machine.step(operation, &mut input).map_err(|problem| format!("pickle byte {at}: {problem}"))?;
        }
    }

    /// A node.
    pub(super) fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index]
    }

    /// The value of a text key in a dictionary; the last one counts.
    pub(super) fn get(&self, dictionary: NodeIndex, name: &str) -> Option<NodeIndex> {
        let Node::Dictionary(items) = self.node(dictionary) else { return None };
        let wanted =
            |item: &&(NodeIndex, NodeIndex)| matches!(self.node(item.0), Node::Text(key) if **key == *name);
        items.iter().rev().find(wanted).map(|item| item.1)
    }

    /// A non-negative integer.
    pub(super) fn size(&self, node: NodeIndex) -> Option<usize> {
        match self.node(node) {
            Node::Integer(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A tuple of non-negative integers.
    pub(super) fn sizes(&self, node: NodeIndex) -> Option<Vec<usize>> {
        let Node::Tuple(items) = self.node(node) else { return None };
        items.iter().map(|&item| self.size(item)).collect()
    }

    /// Keys of all storages mentioned, with the bytes of one value.
    pub(super) fn storages(&self) -> impl Iterator<Item = (&str, usize)> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage { kind, key } => Some((&**key, width(kind)?)),
            _ => None,
        })
    }

    fn step(&mut self, operation: u8, input: &mut Input<'_>) -> Result<(), String> {
        match operation {
            // PROTO, and FRAME of later protocols.
            0x80 => drop(input.byte()?),
            0x95 => drop(input.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            // None, True, False, float: nothing needs their value.
            b'N' | 0x88 | 0x89 => self.push(Node::Opaque)?,
            b'G' => {
                input.take(8)?;
                self.push(Node::Opaque)?;
            }
            b'J' => {
                let value = input.u32()?.cast_signed();
                self.push(Node::Integer(i64::from(value)))?;
            }
            b'K' => {
                let value = input.byte()?;
                self.push(Node::Integer(i64::from(value)))?;
            }
            b'M' => {
                let value = input.u16()?;
                self.push(Node::Integer(i64::from(value)))?;
            }
            0x8a => {
                let length = input.byte()?;
                let node = long(input.take(usize::from(length))?);
                self.push(node)?;
            }
            b'X' => {
                let length = input.u32()?;
                let node = Node::Text(text(input.take(length as usize)?));
                self.push(node)?;
            }
            0x8c | b'U' => {
                let length = input.byte()?;
                let node = Node::Text(text(input.take(usize::from(length))?));
                self.push(node)?;
            }
            b'c' => {
                let (module, name) = (input.line()?, input.line()?);
                self.push(global(&module, &name)?)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (self.node(module), self.node(name)) else {
                    return Err("a global without a name".to_owned());
                };
                let node = global(module, name)?;
                self.push(node)?;
            }
            b')' => self.push(Node::Tuple(Rc::new([])))?,
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dictionary(Vec::new()))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items.into()))?;
            }
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let from = self.stack.len().checked_sub(count).ok_or("an empty stack")?;
                let items = self.stack.split_off(from);
                self.push(Node::Tuple(items.into()))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(&items)?;
            }
            b'q' => {
                let slot = input.byte()?;
                self.memoise(u32::from(slot))?;
            }
            b'r' => {
                let slot = input.u32()?;
                self.memoise(slot)?;
            }
            0x94 => self.memoise(self.memo.len() as u32)?,
            b'h' => {
                let slot = input.byte()?;
                self.recall(u32::from(slot))?;
            }
            b'j' => {
                let slot = input.u32()?;
                self.recall(slot)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            // BUILD sets attributes, which state dictionaries have but nothing needs.
            b'b' => drop(self.pop()?),
            b'0' => drop(self.pop()?),
            other => return Err(format!("instruction {other:#04x} does not describe tensors")),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), String> {
        if self.nodes.len() == NODES_MAX {
            return Err(format!("more than {NODES_MAX} values"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<NodeIndex, String> {
        self.stack.pop().ok_or_else(|| "an empty stack".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeIndex>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("no mark on the stack")?))
    }

    fn top(&mut self) -> Result<&mut Node, String> {
        let top = *self.stack.last().ok_or("an empty stack")?;
        Ok(&mut self.nodes[top])
    }

    fn append(&mut self, items: Vec<NodeIndex>) -> Result<(), String> {
        match self.top()? {
            Node::List(list) => list.extend(items),
            _ => return Err("appends to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[NodeIndex]) -> Result<(), String> {
        match self.top()? {
            Node::Dictionary(all) => all.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Node::Opaque => {}
            _ => return Err("sets items of what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn memoise(&mut self, slot: u32) -> Result<(), String> {
        let top = *self.stack.last().ok_or("an empty stack")?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), String> {
        let node = *self.memo.get(&slot).ok_or_else(|| format!("nothing remembered under {slot}"))?;
        self.stack.push(node);
        Ok(())
    }

    /// A persistent id is a storage: `("storage", class, key, device, count)`, with a sixth item in the older form.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Node::Tuple(items) = self.node(id).clone() else {
            return Err("a reference that is no tuple".to_owned());
        };
        let (Some(&kind), Some(&key)) = (items.get(1), items.get(2)) else {
            return Err("a reference that is no storage".to_owned());
        };
        let (Node::Global(kind), Node::Text(key)) = (self.node(kind), self.node(key)) else {
            return Err("a storage without class or key".to_owned());
        };
        let storage = Node::Storage { kind: Rc::clone(kind), key: Rc::clone(key) };
        self.push(storage)
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Node::Global(function), Node::Tuple(arguments)) = (self.node(function), self.node(arguments))
        else {
            return self.push(Node::Opaque);
        };
        let node = match (&**function, &arguments[..]) {
            ("collections.OrderedDict", _) => Node::Dictionary(Vec::new()),
            ("torch._utils._rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                Node::Tensor { storage, offset, shape, strides }
            }
            // A parameter is a tensor that wants gradients.
            ("torch._utils._rebuild_parameter", &[tensor, ..]) => self.node(tensor).clone(),
            _ => Node::Opaque,
        };
        self.push(node)
    }
}

/// A little-endian two's complement integer; those beyond 64 bits (the magic number) are not needed.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Opaque;
    }
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = if negative { [0xff; 8] } else { [0; 8] };
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Integer(i64::from_le_bytes(wide))
}

/// The qualified name of a class or function; those that matter here are short.
fn global(module: &str, name: &str) -> Result<Node, String> {
    if module.len() + name.len() > GLOBAL_BYTES_MAX {
        return Err("a class with a very long name".to_owned());
    }
    Ok(Node::Global(format!("{module}.{name}").into()))
}

/// Bytes of one value of a storage class.
fn width(kind: &str) -> Option<usize> {
    Some(match kind.strip_prefix("torch.")? {
        "DoubleStorage" | "LongStorage" => 8,
        "FloatStorage" | "IntStorage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        _ => return None,
    })
}
