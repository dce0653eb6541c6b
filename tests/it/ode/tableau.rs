//! The coefficients of every method against the order conditions of rooted trees (Butcher 1963; Hairer, Nørsett &
//! Wanner, II.2).

use fewsteps::{Method, Tableau};

/// Rounding of coefficients with sixteen digits, of magnitude up to 90, in products of up to five.
const TOLERANCE: f64 = 2e-13;

/// A rooted tree: the subtrees at its root, in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tree(Vec<Self>);

impl Tree {
    fn order(&self) -> usize {
        1 + self.0.iter().map(Self::order).sum::<usize>()
    }

    /// The density: `1 / gamma` is the elementary weight of the exact solution.
    fn gamma(&self) -> f64 {
        self.order() as f64 * self.0.iter().map(Self::gamma).product::<f64>()
    }

    /// The elementary weights of the stages.
    fn stages(&self, tableau: &Tableau) -> Vec<f64> {
        let mut weights = vec![1.0; tableau.stages()];
        for child in &self.0 {
            let below = child.stages(tableau);
            for (weight, row) in weights.iter_mut().zip(tableau.a) {
                *weight *= row.iter().zip(&below).map(|(a, w)| a * w).sum::<f64>();
            }
        }
        weights
    }

    fn weight(&self, tableau: &Tableau, b: &[f64]) -> f64 {
        self.stages(tableau).iter().zip(b).map(|(phi, b)| phi * b).sum()
    }
}

/// All trees of each order up to `order`; the first list is that of order 1.
fn trees(order: usize) -> Vec<Vec<Tree>> {
    let mut all: Vec<Vec<Tree>> = vec![vec![Tree(vec![])]];
    for n in 2..=order {
        // A tree grows from each smaller one by a leaf somewhere; sorted subtrees make copies equal.
        let mut grown: Vec<Tree> = all[n - 2].iter().flat_map(grow).collect();
        grown.sort();
        grown.dedup();
        all.push(grown);
    }
    all
}

/// The tree with one more leaf, at every possible place.
fn grow(tree: &Tree) -> Vec<Tree> {
    let mut results = vec![[tree.0.clone(), vec![Tree(vec![])]].concat()];
    for (i, child) in tree.0.iter().enumerate() {
        for larger in grow(child) {
            let mut children = tree.0.clone();
            children[i] = larger;
            results.push(children);
        }
    }
    results
        .into_iter()
        .map(|mut children| {
            children.sort();
            Tree(children)
        })
        .collect()
}

/// The largest defect of the conditions of order `order` at `theta`.
fn defect(tableau: &Tableau, b: &[f64], order: usize, theta: f64) -> f64 {
    let exponent = i32::try_from(order).expect("a small order");
    let of = |tree: &Tree| (tree.weight(tableau, b) - theta.powi(exponent) / tree.gamma()).abs();
    trees(order)[order - 1].iter().map(of).fold(0.0, f64::max)
}

/// Asserts that the weights have that order at `theta`, and no higher one.
fn check(name: &str, tableau: &Tableau, b: &[f64], order: usize, theta: f64) {
    for n in 1..=order {
        let defect = defect(tableau, b, n, theta);
        assert!(defect <= TOLERANCE, "{name}: order {n} missed by {defect:e} at theta {theta}");
    }
    let beyond = defect(tableau, b, order + 1, theta);
    assert!(beyond > 1e-6 * theta.powi(9), "{name}: also of order {} at theta {theta}: {beyond:e}", order + 1);
}

#[test]
fn there_are_as_many_trees_as_the_literature_counts() {
    let counts: Vec<usize> = trees(7).iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 2, 4, 9, 20, 48], "rooted trees of order 1 to 7");
    let mut densities: Vec<f64> = trees(5)[4].iter().map(Tree::gamma).collect();
    densities.sort_by(f64::total_cmp);
    assert_eq!(densities, [5.0, 10.0, 15.0, 20.0, 20.0, 30.0, 40.0, 60.0, 120.0], "densities of the trees of order 5");
}

#[test]
fn weights_have_their_order() {
    for method in Method::ODE {
        let tableau = method.tableau();
        check(&format!("{method}"), tableau, tableau.b, tableau.order, 1.0);
    }
}

#[test]
fn embedded_weights_have_their_order() {
    for method in Method::ODE {
        let tableau = method.tableau();
        let Some(error) = tableau.b_error else {
            assert_eq!(tableau.embedded_order, tableau.order, "{method} has no embedded solution");
            continue;
        };
        let embedded: Vec<f64> = tableau.b.iter().zip(error).map(|(b, e)| b - e).collect();
        check(&format!("{method} embedded"), tableau, &embedded, tableau.embedded_order, 1.0);
        let sum: f64 = error.iter().sum();
        assert!(sum.abs() < 1e-15, "{method}: the error weights sum to {sum:e}");
        assert_eq!(tableau.error_power(), tableau.embedded_order as f64 + 1.0, "{method}: power of h in the error");
    }
}

#[test]
fn interpolants_have_their_order_everywhere() {
    for method in Method::ODE {
        let tableau = method.tableau();
        // Neither end, nor 1/2, where an odd condition of higher order may hold by symmetry.
        for theta in [0.05, 0.15, 0.29, 0.41, 0.63, 0.77, 0.92] {
            let weights = tableau.interpolant_weights(theta);
            check(
                &format!("{method} interpolant"),
                tableau,
                &weights[..tableau.stages()],
                tableau.interpolant_order,
                theta,
            );
            assert!(weights[tableau.stages()..].iter().all(|w| *w == 0.0), "{method}: no weights past the last stage");
        }
    }
}

#[test]
fn interpolants_meet_the_ends() {
    for method in Method::ODE {
        let tableau = method.tableau();
        assert_eq!(tableau.interpolant_weights(0.0), [0.0; 7], "{method}: nothing at theta 0");
        for (i, (end, b)) in tableau.interpolant_weights(1.0).iter().zip(tableau.b).enumerate() {
            assert!((end - b).abs() < 4e-14, "{method}: weight {i} is {end} at theta 1, not {b}");
        }
    }
}

#[test]
fn rows_sum_to_their_nodes() {
    for method in Method::ODE {
        let tableau = method.tableau();
        assert_eq!((tableau.a.len(), tableau.c.len()), (tableau.stages(), tableau.stages()), "{method}: shapes");
        assert_eq!(tableau.interpolant.len(), tableau.stages(), "{method}: an interpolant weight a stage");
        for (i, (row, c)) in tableau.a.iter().zip(tableau.c).enumerate() {
            assert_eq!(row.len(), i, "{method}: row {i} is strictly lower triangular");
            let sum: f64 = row.iter().sum();
            assert!((sum - c).abs() < 1e-14, "{method}: row {i} sums to {sum}, its node is {c}");
        }
    }
}

#[test]
fn last_stages_that_are_first_ones() {
    let fsal: Vec<Method> = Method::ODE.into_iter().filter(|m| m.tableau().fsal()).collect();
    assert_eq!(fsal, [Method::Bosh3, Method::Dopri5, Method::Tsit5], "methods whose last stage is the next first");
    for method in Method::ODE {
        let Tableau { c, stability_size, .. } = method.tableau();
        let pair = c.len() > 1 && c[c.len() - 2] == 1.0;
        assert_eq!(stability_size.is_some(), pair, "{method}: two stages at the end of the step measure stiffness");
    }
}
