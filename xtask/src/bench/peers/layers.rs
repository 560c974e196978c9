//! The work: n services in five layers, service i needing service i of the layer before.

/// How many layers.
const LAYERS: u32 = 5;

/// All services, as number and the number of the one that must be there first.
pub(super) fn services(n: u32) -> impl Iterator<Item = (u32, Option<u32>)> {
    let width = n.div_ceil(LAYERS).max(1);
    (0..n).map(move |number| (number, number.checked_sub(width)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_stands_on_the_one_before() {
        let all: Vec<_> = services(10).collect();
        assert_eq!(all[..3], [(0, None), (1, None), (2, Some(0))]);
        assert_eq!(all[9], (9, Some(7)));
        assert_eq!(
            services(500).filter(|(_, needs)| needs.is_none()).count(),
            100
        );
    }
}
