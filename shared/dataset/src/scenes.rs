//! Procedural scenes: labelled pictures of machine parts from as many different sites as wanted, from a seed.
//!
//! A [`World`] says how much its sites differ; [`World::site`] fixes one of them; [`scene`] draws its pictures one by
//! one, any of them at any time. What a detector has to learn is the shape: a ring, a cross, a gear, a bolt, a plate,
//! an arrow, in any position, size, rotation and light, partly covered, among things that are none of these.
//!
//! Sites differ in three ways, each a number in 0..=1:
//! * `label_skew`: how far each site prefers its own classes. At 0 all are equally frequent; at 1 a site's first
//!   class makes up about two thirds of its objects.
//! * `feature_shift`: how far each site has its own background, light, camera, and colour and pattern of each class.
//! * `concept_shift`: how many classes exchange their shapes at a site, in pairs. What is called a bolt here looks as
//!   a gear does elsewhere: no model can be right everywhere without knowing where it is.

use std::ops::Range;
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::sample::{Annotation, Dataset, ImageSource, Sample};

mod backdrop;
mod camera;
mod paint;
mod setting;
mod shapes;

use paint::{Body, Layer, Pattern};
use setting::Setting;
use shapes::{CLASSES, DISTRACTORS, Shape};

/// Most classes a world can have.
pub const CLASSES_MAX: usize = CLASSES.len();

/// How fast a site's preference falls from one class to the next at full label skew: a factor of e^1.2 = 3.3.
const SKEW: f32 = 1.2;
/// Share of scenes without any object.
const NEGATIVES: f32 = 0.06;
/// Objects with less than this part in sight are ignored regions.
const SIGHT_MIN: f32 = 0.3;

/// A family of sites.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Everything follows from it.
    pub seed: u64,
    /// Number of classes, 1 to [`CLASSES_MAX`]; values outside are taken as the nearest.
    pub classes: usize,
    /// 0 to 1, see the module.
    pub label_skew: f32,
    /// 0 to 1, see the module.
    pub feature_shift: f32,
    /// 0 to 1, see the module.
    pub concept_shift: f32,
}

/// One place where pictures are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSpec {
    /// Number of the site in its world.
    pub index: u32,
    /// How often each class occurs, summing to 1.
    pub class_weights: Vec<f32>,
    /// For each class, the class whose shape it has here: itself unless concepts are shifted.
    pub shape_of_class: Vec<usize>,
    seed: u64,
    feature_shift: f32,
    own: Setting,
    looks: Vec<Look>,
}

/// Colour and pattern of a class at a site.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    colour: [f32; 3],
    pattern: Pattern,
}

impl World {
    /// Names of the classes, in order.
    pub fn class_names(&self) -> Vec<String> {
        CLASSES[..self.class_count()].iter().map(|shape| shape.name.to_owned()).collect()
    }

    /// Site number `index`. Sites do not depend on how many there are.
    pub fn site(&self, index: u32) -> SiteSpec {
        let classes = self.class_count();
        let mut rng = stream(self.seed, u64::from(index) + 1);
        // The order of preference turns from site to site through one order of the world, so that few sites together
        // prefer all classes.
        let mut order: Vec<usize> = (0..classes).collect();
        order.shuffle(&mut stream(self.seed, 0));
        order.rotate_left(2 * index as usize % classes);
        let mut class_weights = vec![0.0; classes];
        for (rank, &class) in order.iter().enumerate() {
            class_weights[class] = (-SKEW * unit(self.label_skew) * rank as f32).exp();
        }
        let sum: f32 = class_weights.iter().sum();
        class_weights.iter_mut().for_each(|weight| *weight /= sum);

        // The classes that matter most at this site exchange shapes first.
        let wanted = (unit(self.concept_shift) * (classes / 2) as f32).round() as usize;
        let mut shape_of_class: Vec<usize> = (0..classes).collect();
        let mut exchanged = 0;
        for &class in &order {
            let other = partner(class, index, classes);
            if exchanged < wanted && other != class && shape_of_class[class] == class {
                shape_of_class.swap(class, other);
                exchanged += 1;
            }
        }
        SiteSpec {
            index,
            class_weights,
            shape_of_class,
            seed: rng.random(),
            feature_shift: unit(self.feature_shift),
            own: Setting::draw(&mut rng),
            looks: (0..classes).map(|_| Look::draw(&mut rng)).collect(),
        }
    }

    fn class_count(&self) -> usize {
        self.classes.clamp(1, CLASSES_MAX)
    }
}

/// The class that exchanges shapes with `class` at site number `site`, or itself if their number is odd. Paired as in a
/// tournament where everybody meets everybody once (the circle method): over one less sites than classes, no pair occurs
/// twice, so that a shape never means the same everywhere.
fn partner(class: usize, site: u32, classes: usize) -> usize {
    let players = classes + classes % 2;
    let turning = players - 1;
    let round = site as usize % turning;
    let other = if class == turning {
        // The fixed player meets whoever would meet itself: 2 c = round, and `turning` is odd.
        round * players / 2 % turning
    } else {
        (round + turning - class) % turning
    };
    let other = if other == class { turning } else { other };
    if other < classes { other } else { class }
}

impl Look {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self { colour: setting::paint_colour(rng), pattern: Pattern::draw(rng) }
    }
}

/// Draws scene number `index` of a site at `size` = (width, height) pixels; sides are at least 16. The boxes enclose
/// what is visible of each object, to the pixel. The same arguments give the same picture.
pub fn scene(site: &SiteSpec, index: u64, size: (u32, u32)) -> (Image, Vec<Annotation>) {
    let (width, height) = (size.0.max(16), size.1.max(16));
    let mut rng = stream(site.seed, index);
    let setting = Setting::draw(&mut rng).towards(&site.own, site.feature_shift, &mut rng);
    let mut layer = Layer::new(width, height);
    backdrop::paint(&setting, &mut layer, &mut rng);

    let scale = width.min(height) as f32;
    let mut placed: Vec<[f32; 3]> = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let shape = &DISTRACTORS[rng.random_range(0..DISTRACTORS.len())];
        let look = Look::draw(&mut rng);
        if let Some(body) = body(shape, look, scale * 0.8, &setting, &placed, (width, height), &mut rng) {
            placed.push([body.centre[0], body.centre[1], body.radius]);
            layer.paint(&body, &setting, None);
        }
    }
    let wanted = if rng.random::<f32>() < NEGATIVES { 0 } else { rng.random_range(1..=5) };
    let mut classes = Vec::new();
    for _ in 0..wanted {
        let class = site.draw_class(&mut rng);
        let look = site.draw_look(class, &mut rng);
        let shape = &CLASSES[site.shape_of_class[class]];
        if let Some(body) = body(shape, look, scale, &setting, &placed, (width, height), &mut rng) {
            placed.push([body.centre[0], body.centre[1], body.radius]);
            layer.paint(&body, &setting, Some(classes.len() as u8));
            classes.push(class as u32);
        }
    }
    let annotations = classes.iter().zip(layer.extents(classes.len())).filter_map(|(&class, extent)| {
        let extent = extent?;
        Some(Annotation { class, bbox: extent.bbox, ignore: extent.visible < SIGHT_MIN })
    });
    let annotations = annotations.collect();
    (camera::expose(layer, &setting, &mut rng), annotations)
}

/// A data set of the scenes with numbers `scenes`, drawn again whenever they are loaded: nothing but boxes is kept.
pub fn scene_dataset(world: &World, site: &Arc<SiteSpec>, scenes: Range<u64>, size: (u32, u32)) -> Dataset {
    let classes = world.class_names();
    let annotated: Arc<[u32]> = (0..classes.len() as u32).collect();
    let samples = scenes.map(|index| {
        let (image, annotations) = scene(site, index, size);
        Sample {
            image: ImageSource::Scene(Arc::clone(site), index),
            width: image.width(),
            height: image.height(),
            annotations,
            labelled: true,
            annotated_classes: Arc::clone(&annotated),
        }
    });
    Dataset { samples: samples.collect(), classes, problems: Vec::new() }
}

impl SiteSpec {
    fn draw_class(&self, rng: &mut ChaCha8Rng) -> usize {
        let mut draw: f32 = rng.random();
        for (class, weight) in self.class_weights.iter().enumerate() {
            draw -= weight;
            if draw < 0.0 {
                return class;
            }
        }
        self.class_weights.len() - 1
    }

    /// The site's look of the class, or any other, the less the features are shifted.
    fn draw_look(&self, class: usize, rng: &mut ChaCha8Rng) -> Look {
        let any = Look::draw(rng);
        let own = self.looks[class];
        let shift = self.feature_shift;
        let pattern = if rng.random::<f32>() < shift { own.pattern } else { any.pattern };
        // Even at full shift two objects are not painted exactly alike.
        let colour = std::array::from_fn(|c| any.colour[c] + (own.colour[c] - any.colour[c]) * shift * 0.9);
        Look { colour, pattern }
    }
}

/// A body in a free place, if one is found.
fn body(
    shape: &'static Shape,
    look: Look,
    scale: f32,
    setting: &Setting,
    placed: &[[f32; 3]],
    size: (u32, u32),
    rng: &mut ChaCha8Rng,
) -> Option<Body> {
    let radius = scale * rng.random_range(0.095..0.23);
    let angle = rng.random_range(0.0..std::f32::consts::TAU);
    let stretch = rng.random_range(0.87..1.15);
    let variant = rng.random();
    let colour = setting::apart(look.colour, setting.tone, setting.contrast);
    // A fixed number of draws, so that a crowded picture does not change what comes after.
    let places: [[f32; 2]; 10] = rng.random();
    let centre = places
        .into_iter()
        .map(|[u, v]| place(u, v, radius, size))
        .find(|&[x, y]| placed.iter().all(|&[px, py, r]| (x - px).hypot(y - py) > 0.58 * (r + radius)))?;
    Some(Body { shape, centre, radius, angle, stretch, variant, colour, pattern: look.pattern })
}

/// Mostly inside; up to half a radius may be cut off by the edge.
fn place(u: f32, v: f32, radius: f32, (width, height): (u32, u32)) -> [f32; 2] {
    let margin = 0.55 * radius;
    let along = |draw: f32, side: u32| margin + draw * (side as f32 - 2.0 * margin);
    [along(u, width), along(v, height)]
}

/// An independent stream of random numbers for each purpose.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// A share: 0..=1, and 0 for NaN.
fn unit(value: f32) -> f32 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
