//! Who reports the statistics of which channels.

use std::collections::BTreeMap;

use params::Share;
use protocol::id::{ClientId, Version};

/// A client that is asked to evaluate a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) client: ClientId,
    /// Whether it is connected now.
    pub(crate) present: bool,
    /// Images it speaks for.
    pub(crate) images: u32,
}

/// Images beyond which a client's statistics get no better.
const IMAGES_ENOUGH: u32 = 128;

/// Divides the channels among those asked, into as many shares as leave each in good hands: of up to eight clients each
/// channel hears at least one, of more at least two, and behind every channel is at least half the images there would be if all
/// were equal. Largest clients first, each to the share with the fewest images so far; those absent come last and count
/// for nothing. Shares rotate with the version. Of the `last` version everybody reports everything: it is the one that will be used,
/// and no later one mends what a single site got wrong.
pub(crate) fn divide(mut asked: Vec<Asked>, version: Version, last: bool) -> BTreeMap<ClientId, Share> {
    for one in &mut asked {
        one.images = if one.present { one.images.min(IMAGES_ENOUGH) } else { 0 };
    }
    asked.sort_by(|a, b| (b.present, b.images, &a.client).cmp(&(a.present, a.images, &b.client)));
    let total: u64 = asked.iter().map(|one| u64::from(one.images)).sum();
    let most = match asked.len() {
        _ if last => 1,
        few @ 0..=8 => few.clamp(1, 4),
        many => (many / 2).min(Share::OF_MAX.into()),
    };
    for of in (2..=most).rev() {
        let (parts, loads) = pack(&asked, of);
        if loads.iter().all(|&load| 2 * load * of as u64 >= total) {
            let turn = version.0 as usize % of;
            let share = |part: usize| Share::new(((part + turn) % of) as u8, of as u8);
            return asked.into_iter().zip(parts).map(|(one, part)| (one.client, share(part))).collect();
        }
    }
    asked.into_iter().map(|one| (one.client, Share::ALL)).collect()
}

/// Gives each in turn the part with the fewest images so far: the parts, and the images behind each.
fn pack(asked: &[Asked], of: usize) -> (Vec<usize>, Vec<u64>) {
    let (mut loads, mut members) = (vec![0; of], vec![0_usize; of]);
    let mut part_of = |one: &Asked| {
        let part = (0..of).min_by_key(|&part| (loads[part], members[part])).unwrap_or(0);
        loads[part] += u64::from(one.images);
        members[part] += 1;
        part
    };
    let parts = asked.iter().map(&mut part_of).collect();
    (parts, loads)
}

#[cfg(test)]
mod tests;
