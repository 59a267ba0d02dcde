//! What a version's frames do once it is no longer current.
//!
//! Every version that may still have frames maps directly to where they go on: when a version is replaced,
//! the maps of all older ones are composed with its own. So nothing leads through versions in between, and
//! these can be forgotten.

use super::layout::{Compositions, Layout};
use super::version::FunctionVersion;
use std::sync::Arc;

/// What a frame does that is suspended at a point of some version.
#[derive(Clone)]
pub(crate) enum Continuation {
    /// It goes on in its own version.
    Stay,
    /// It goes on in another one: the newest that it can reach.
    Move {
        /// The version.
        version: Arc<FunctionVersion>,
        /// The point in that version's body. It is of the same kind as the one where the frame is
        /// suspended: a call with the same results, a loop, or the entry.
        point: u32,
        /// From the frame's canonical slots to those that it has there.
        layout: Arc<Layout>,
    },
    /// It traps.
    Trap,
}

/// Where the frames of a version go on.
#[derive(Clone, Default)]
pub(crate) enum Migration {
    /// In their own version.
    #[default]
    Stay,
    /// Those at these points go on elsewhere, all others in their own version.
    Points(Arc<Points>),
    /// Nowhere.
    Trap,
}

/// Where frames at some points go on.
pub(crate) struct Points(Box<[(u32, Target)]>);

impl Points {
    pub(crate) fn new(points: impl IntoIterator<Item = (u32, Target)>) -> Points {
        let mut points: Box<[_]> = points.into_iter().collect();
        points.sort_unstable_by_key(|(point, _)| *point);
        Points(points)
    }

    pub(crate) fn get(&self, point: u32) -> Option<&Target> {
        let index = self.0.binary_search_by_key(&point, |(point, _)| *point).ok()?;
        Some(&self.0[index].1)
    }

    /// All of them, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Target)> {
        self.0.iter().map(|(point, target)| (*point, target))
    }
}

/// Where frames at one point go on.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) version: Arc<FunctionVersion>,
    pub(crate) point: u32,
    pub(crate) layout: Arc<Layout>,
}

impl Migration {
    /// What a frame at this point does.
    pub(crate) fn at(&self, point: u32) -> Continuation {
        match self {
            Migration::Stay => Continuation::Stay,
            Migration::Trap => Continuation::Trap,
            Migration::Points(points) => match points.get(point) {
                None => Continuation::Stay,
                Some(Target { version, point, layout }) => Continuation::Move {
                    version: version.clone(),
                    point: *point,
                    layout: layout.clone(),
                },
            },
        }
    }

    /// Where frames go on that `self` leads to some version, once frames of that version go on as `next` says of
    /// it; `None`: nothing has changed for them.
    pub(crate) fn then<'m>(
        &self,
        next: impl Fn(&Arc<FunctionVersion>) -> Option<&'m Migration>,
        compositions: &mut Compositions,
    ) -> Migration {
        let Migration::Points(points) = self else { return self.clone() };
        let mut step = |target: &Target| {
            let further = match next(&target.version) {
                Some(Migration::Points(further)) => further.get(target.point),
                _ => None,
            };
            match further {
                None => target.clone(),
                Some(next) => Target {
                    version: next.version.clone(),
                    point: next.point,
                    layout: compositions.of(&target.layout, &next.layout),
                },
            }
        };
        let steps = points.0.iter().map(|(at, to)| (*at, step(to))).collect();
        Migration::Points(Arc::new(Points(steps)))
    }
}
