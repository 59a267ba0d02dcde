//! Things that are drawn too close to be told apart, drawn as one: so a picture of 20,000 events is no larger than its
//! pixels.

/// Where something is drawn, in pixels from the left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    pub from: f64,
    pub to: f64,
}

/// Some of the things, drawn as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub extent: Extent,
    /// Which of the things.
    pub members: Vec<usize>,
}

/// Groups of the things with these extents, given by their left ends. What is at least `least` wide stands alone; what is
/// narrower is drawn that wide, together with its neighbours in the same place.
pub fn grouped(extents: impl IntoIterator<Item = Extent>, least: f64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    // The group that narrow things are put into, and its place.
    let mut narrow: Option<(i64, usize)> = None;
    for (n, extent) in extents.into_iter().enumerate() {
        if extent.to - extent.from >= least {
            groups.push(Group { extent, members: vec![n] });
            continue;
        }
        let place = (extent.from / least).floor();
        match narrow {
            Some((last, group)) if last == place as i64 => groups[group].members.push(n),
            _ => {
                narrow = Some((place as i64, groups.len()));
                let extent = Extent { from: place * least, to: (place + 1.0) * least };
                groups.push(Group { extent, members: vec![n] });
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(from: f64, to: f64) -> Extent {
        Extent { from, to }
    }

    #[test]
    fn what_is_wide_stands_alone_and_what_is_narrow_is_put_together() {
        let extents = [(0.1, 0.2), (0.3, 0.4), (2.0, 9.0), (9.1, 9.2), (9.3, 9.3), (20.0, 20.0)];
        let groups = grouped(extents.map(|(from, to)| extent(from, to)), 2.0);
        let members: Vec<_> = groups.iter().map(|group| group.members.clone()).collect();
        assert_eq!(members, [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
        assert_eq!(groups[0].extent, extent(0.0, 2.0));
        assert_eq!(groups[1].extent, extent(2.0, 9.0));
    }

    #[test]
    fn there_are_never_more_groups_than_places() {
        let extents = (0..100_000).map(|n| extent(n as f64 / 1000.0, n as f64 / 1000.0));
        assert_eq!(grouped(extents, 1.0).len(), 100);
    }
}
