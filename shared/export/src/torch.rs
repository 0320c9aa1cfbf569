//! PyTorch checkpoints: a pickled tree of tensors, and the raw storages that the tensors are views of.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::rc::Rc;

use zip::ZipArchive;

use crate::checkpoint::{Checkpoint, Element, StoredTensor};
use pickle::{Machine, Node};

mod pickle;

/// First byte of a pickle, and of a checkpoint in the older form.
pub(crate) const PICKLE_PROTOCOL: u8 = 0x80;
/// Largest description of tensors. The storages are not in it.
const PICKLE_BYTES_MAX: u64 = 16 << 20;
/// `torch.save`'s magic number, 0x1950a86a20f9469cfc6c as pickled: LONG1, ten bytes.
const LEGACY_MAGIC: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Names under which training scripts file the weights beside optimiser and epoch.
const NESTED: [&str; 2] = ["state_dict", "model"];

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    storage: Rc<str>,
    element: Element,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The zip form: `NAME/data.pkl` and `NAME/data/KEY`, stored without compression.
pub(crate) fn read_zip(bytes: &[u8]) -> Result<Checkpoint, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("damaged zip archive: {e}"))?;
    let pickle_name = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| name.ends_with("/data.pkl"))
        .ok_or("a zip archive without data.pkl: not a PyTorch checkpoint")?
        .into_owned();
    let folder = pickle_name.trim_end_matches("data.pkl").to_owned();
    if archive.by_name(&format!("{folder}byteorder")).is_ok() {
        let order = entry(&mut archive, &format!("{folder}byteorder"), 16)?;
        if order != b"little" {
            return Err("values in big-endian order".to_owned());
        }
    }
    let pickle = entry(&mut archive, &pickle_name, PICKLE_BYTES_MAX)?;
    let (machine, root, _) = Machine::run(&pickle)?;
    let views = views(&machine, root)?;
    let mut storages: BTreeMap<Rc<str>, Vec<u8>> = BTreeMap::new();
    for view in views.values() {
        if !storages.contains_key(&view.storage) {
            let name = format!("{folder}data/{}", view.storage);
            // An entry cannot be longer than the archive: it is stored, not compressed.
            storages.insert(Rc::clone(&view.storage), entry(&mut archive, &name, bytes.len() as u64)?);
        }
    }
    collect(&views, |key| storages.get(key).map(Vec::as_slice))
}

fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str, max: u64) -> Result<Vec<u8>, String> {
    let file = archive.by_name(name).map_err(|e| format!("entry {name}: {e}"))?;
    if file.size() > max {
        return Err(format!("entry {name}: {} bytes, at most {max} expected", file.size()));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).map_err(|e| format!("entry {name}: {e}"))?;
    Ok(bytes)
}

/// The form before PyTorch 1.6: five pickles (magic number, version, system, tensors, keys of storages), then each
/// storage as a count and its values.
pub(crate) fn read_legacy(bytes: &[u8]) -> Result<Checkpoint, String> {
    if bytes.get(2..2 + LEGACY_MAGIC.len()) != Some(&LEGACY_MAGIC) {
        return Err("a Python pickle, but not a PyTorch checkpoint".to_owned());
    }
    let mut rest = bytes;
    let mut next = |what: &str| -> Result<(Machine, usize, &[u8]), String> {
        let limit = rest.len().min(PICKLE_BYTES_MAX as usize);
        let (machine, root, used) = Machine::run(&rest[..limit]).map_err(|e| format!("{what}: {e}"))?;
        rest = &rest[used..];
        Ok((machine, root, rest))
    };
    for what in ["magic number", "version", "system"] {
        next(what)?;
    }
    let (tree, root, _) = next("tensors")?;
    let (keys, list, mut data) = next("storage keys")?;
    let views = views(&tree, root)?;
    let elements: BTreeMap<&str, usize> = tree.storages().collect();
    let mut storages: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let Node::List(list) = keys.node(list) else { return Err("storage keys: not a list".to_owned()) };
    for &key in list {
        let Node::Text(key) = keys.node(key) else {
            return Err("storage keys: not a list of texts".to_owned());
        };
        let width = *elements.get(&**key).ok_or_else(|| format!("storage {key} belongs to no tensor"))?;
        let (count, values) = data.split_first_chunk::<8>().ok_or("the file ends before its storages")?;
        let length =
            usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(width));
        let length = length.filter(|&length| length <= values.len());
        let length = length.ok_or_else(|| format!("the file ends within storage {key}"))?;
        let (storage, after) = values.split_at(length);
        storages.insert(key, storage);
        data = after;
    }
    collect(&views, |key| storages.get(key).copied())
}

/// The floating-point tensors named in a pickled tree.
fn views(machine: &Machine, root: usize) -> Result<BTreeMap<String, View>, String> {
    let mut dictionary = root;
    // Weights filed one level down.
    for name in NESTED {
        if let Some(inner) = machine.get(dictionary, name)
            && matches!(machine.node(inner), Node::Dictionary(_))
        {
            dictionary = inner;
            break;
        }
    }
    let Node::Dictionary(items) = machine.node(dictionary) else {
        return Err("holds no dictionary of tensors (save the state_dict, not the module)".to_owned());
    };
    let mut views = BTreeMap::new();
    for &(key, value) in items {
        let (Node::Text(name), Node::Tensor { .. }) = (machine.node(key), machine.node(value)) else {
            continue;
        };
        if let Some(view) = view(machine, value).map_err(|problem| format!("tensor {name}: {problem}"))? {
            views.insert(name.to_string(), view);
        }
    }
    Ok(views)
}

/// One tensor, or `None` if it does not hold floating-point numbers.
fn view(machine: &Machine, tensor: usize) -> Result<Option<View>, String> {
    let Node::Tensor { storage, offset, shape, strides } = machine.node(tensor) else {
        return Err("not a tensor".to_owned());
    };
    let Node::Storage { kind, key } = machine.node(*storage) else { return Err("no storage".to_owned()) };
    let element = match &**kind {
        "torch.DoubleStorage" => Element::F64,
        "torch.FloatStorage" => Element::F32,
        "torch.HalfStorage" => Element::F16,
        "torch.BFloat16Storage" => Element::Bf16,
        _ => return Ok(None),
    };
    let sizes = |node: usize| machine.sizes(node).ok_or_else(|| "shape or strides are no sizes".to_owned());
    let offset = machine.size(*offset).ok_or("the offset is no size")?;
    let (shape, strides) = (sizes(*shape)?, sizes(*strides)?);
    if shape.len() != strides.len() || shape.len() > 8 {
        return Err(format!("{} axes and {} strides", shape.len(), strides.len()));
    }
    Ok(Some(View { storage: Rc::clone(key), element, offset, shape, strides }))
}

fn collect<'a>(
    views: &BTreeMap<String, View>,
    storage: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Checkpoint, String> {
    let mut checkpoint = Checkpoint::default();
    let mut total = 0_usize;
    for (name, view) in views {
        let bytes =
            storage(&view.storage).ok_or_else(|| format!("tensor {name}: no storage {}", view.storage))?;
        let count = view.shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        // Views may overlap, so the file's size alone does not bound them.
        total = total.saturating_add(count.unwrap_or(usize::MAX));
        if total > 2 * params::PARAMETERS_MAX {
            return Err(format!("tensor {name}: more values than any model has"));
        }
        let values = gather(view, bytes, count.unwrap_or(0))
            .ok_or_else(|| format!("tensor {name}: reaches beyond its storage"))?;
        checkpoint.tensors.insert(name.clone(), StoredTensor { shape: view.shape.clone(), values });
    }
    Ok(checkpoint)
}

/// The values of a strided view in row-major order.
fn gather(view: &View, bytes: &[u8], count: usize) -> Option<Vec<f32>> {
    let width = view.element.bytes();
    let stored = bytes.len() / width;
    if count > 0 {
        let last =
            view.shape.iter().zip(&view.strides).try_fold(view.offset, |at, (&side, &stride)| {
                at.checked_add((side - 1).checked_mul(stride)?)
            })?;
        if last >= stored {
            return None;
        }
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0_usize; view.shape.len()];
    for _ in 0..count {
        let at = view.offset + index.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum::<usize>();
        values.push(view.element.decode(&bytes[at * width..(at + 1) * width]));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < view.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests;
