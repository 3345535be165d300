// A Divisor n is what stands for it in a quotient of numbers below 2^31: with s = ⌈log2 n⌉, factor = ⌈2^(31+s) / n⌉ and
// shift = s, ⌊x/n⌋ = ⌊x·factor / 2^(31+s)⌋ (Granlund and Montgomery, Division by invariant integers using
// multiplication, PLDI 1994, theorem 4.2). A division by what is only known at run time takes a dozen instructions, three
// of them on the unit of special functions.
struct Divisor {
    unsigned n, factor, shift;
};

// divide gives ⌊x/n⌋ and leaves the rest in x.
__device__ __forceinline__ unsigned divide(unsigned& x, const Divisor& d) {
    const unsigned q = __umulhi(x * 2, d.factor) >> d.shift;
    x -= q * d.n;
    return q;
}
