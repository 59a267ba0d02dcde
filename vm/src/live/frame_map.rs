//! Maps that embedders give: where frames of an old body go on in the new one, and with which values.

use crate::store::value::Val;

/// Where a value of a frame of the new body comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// The old frame's local of this index, parameters included.
    Local(u32),
    /// The old frame's operand of this index, counted from the bottom of the operand stack.
    Operand(u32),
    /// A constant. References can only be null.
    Const(Val),
}

/// Where frames that are suspended in the old body of a function go on in the new one.
///
/// It is given for single points: offsets in the bodies, of a call, of a `loop`, or 0 for the function's
/// entry. A frame that is suspended at a call is described as it is when the call has returned, without
/// the results. All other points are mapped as they are by default, unless the map is
/// [exclusive](FrameMap::exclusive).
///
/// Exceptions that legacy handlers have caught, and throw again, are no locals: they go along by themselves.
///
/// A map is checked before anything is changed: both points must exist and be reachable, be of the same
/// kind (calls with the same results, loops, or the entry), and every value must have the type that the
/// new body's validation says.
#[derive(Clone, Debug, Default)]
pub struct FrameMap {
    pub(crate) points: Vec<PointMap>,
    /// Whether points that it does not mention have no counterpart.
    pub(crate) exclusive: bool,
    /// Whether points that it is wrong about are refused; otherwise all of it is.
    pub(crate) lenient: bool,
}

/// What a [`FrameMap`] says of one point.
#[derive(Clone, Debug)]
pub(crate) struct PointMap {
    /// Offset in the old body.
    pub(crate) old: u32,
    /// Offset in the new body.
    pub(crate) new: u32,
    /// Where each local of the new body comes from; `None`: from the one of the same index.
    pub(crate) locals: Option<Vec<Source>>,
    /// Where each operand of the new body comes from; `None`: from the one of the same index.
    pub(crate) operands: Option<Vec<Source>>,
}

impl FrameMap {
    /// A map that says nothing yet.
    pub fn new() -> FrameMap {
        FrameMap::default()
    }

    /// Points that the map does not mention have no counterpart: frames that are suspended there finish in
    /// the old body. For edits after which what looks alike need not be the same.
    #[must_use]
    pub fn exclusive(mut self) -> FrameMap {
        self.exclusive = true;
        self
    }

    /// Frames suspended at `old` go on at `new`, with the locals and operands of the same indices; locals
    /// that are new start at zero.
    #[must_use]
    pub fn point(mut self, old: u32, new: u32) -> FrameMap {
        self.points.push(PointMap { old, new, locals: None, operands: None });
        self
    }

    /// Frames suspended at `old` go on at `new`, with these values for all locals (parameters included)
    /// and all operands of the new body.
    #[must_use]
    pub fn point_with(
        mut self,
        old: u32,
        new: u32,
        locals: Vec<Source>,
        operands: Vec<Source>,
    ) -> FrameMap {
        let (locals, operands) = (Some(locals), Some(operands));
        self.points.push(PointMap { old, new, locals, operands });
        self
    }

    /// The way back. Points at which values are rearranged have none, nor have those whose values the old
    /// body needs and the new one does not keep. If there are any of the former, the map is exclusive: by
    /// default their locals would be taken for those of the same number.
    pub(crate) fn inverse(&self) -> FrameMap {
        let is_plain = |map: &&PointMap| map.locals.is_none() && map.operands.is_none();
        let plain = self.points.iter().filter(is_plain);
        let exclusive = self.exclusive || !self.points.iter().all(|map| is_plain(&map));
        let back =
            |map: &PointMap| PointMap { old: map.new, new: map.old, locals: None, operands: None };
        FrameMap { points: plain.map(back).collect(), exclusive, lenient: true }
    }
}
