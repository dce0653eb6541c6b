//! [`Increment`]: what a path does over an interval, and how increments are drawn, split and joined.

use crate::math::Real;

/// What a path does over an interval of length `h`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Increment<R> {
    /// `W(t) - W(s)`, normal with variance `h`.
    pub w: R,
    /// Space-time Lévy area `1/h` times the integral of `W(u) - W(s) - (u - s)/h w`, normal with variance `h/12` and
    /// independent of `w`. The `dZ` of stochastic Runge-Kutta methods is `2 sqrt 3` times it.
    pub levy: R,
}

impl<R: Real> Increment<R> {
    /// The increment over two intervals of lengths `first` and `second`, one after the other (K.-T. Chen's relation).
    #[inline(always)]
    #[must_use]
    pub fn join(self, first: R, other: Self, second: R) -> Self {
        let half = R::from_f64(0.5);
        let areas = first * self.levy + second * other.levy;
        let lever = half * (second * self.w - first * other.w);
        Self { w: self.w + other.w, levy: (areas + lever) / (first + second) }
    }

    /// The increments over the halves of an interval of length `h`, from two standard normal numbers.
    ///
    /// `w1 = w/2 + 3/2 levy + z`, `levy1 = levy/4 - z/2 + n/2`, `levy2 = levy/4 - z/2 - n/2` with `z ~ N(0, h/16)` and
    /// `n ~ N(0, h/12)` (Foster 2020, theorem 6.1.6).
    #[inline(always)]
    #[must_use]
    pub fn split(self, h: R, normals: [R; 2]) -> [Self; 2] {
        let [half, quarter] = [0.5, 0.25].map(R::from_f64);
        let root = h.sqrt();
        let z = quarter * root * normals[0];
        let n = R::from_f64(0.5 / 12f64.sqrt()) * root * normals[1];
        let w = half * self.w + R::from_f64(1.5) * self.levy + z;
        let levy = quarter * self.levy - half * z;
        [Self { w, levy: levy + n }, Self { w: self.w - w, levy: levy - n }]
    }

    /// The increment over an interval of length `h`, from two standard normal numbers.
    #[inline(always)]
    #[must_use]
    pub fn draw(h: R, normals: [R; 2]) -> Self {
        let root = h.sqrt();
        Self { w: root * normals[0], levy: R::from_f64(1.0 / 12f64.sqrt()) * root * normals[1] }
    }
}
