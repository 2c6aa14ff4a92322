// The quantiser of least mean square error for a standard normal variable (Lloyd 1957; Max 1960), and what it does to
// variables that are only sums of random signs. Part of the program that writes the library's codebooks at build time.
#pragma once

#include <vector>

namespace laconic::codebooks {

// A symmetric codebook of `bits` bits: 2^bits levels, of which the positive half is kept.
struct Codebook {
  int bits = 0;
  std::vector<double> codewords;   // 2^(bits-1), ascending, > 0
  std::vector<double> boundaries;  // 2^(bits-1) - 1: boundary j lies midway between codewords j and j+1
  double distortion = 0;           // E (g - c(g))^2 for g ~ N(0, 1)
};

// bits: 1..8. Codewords are right to about 1e-13: Newton's method on "every codeword is the mean of its cell", whose
// Jacobian is tridiagonal, from where the companding quantiser of Panter and Dite (1951) puts them. (Lloyd's own
// iteration needs more than 20 000 sweeps at 8 bits.)
Codebook LloydMax(int bits);

// An upper bound on E (Z - c(Z))^2 over all Z = sum_j a_j s_j, s_j independent random signs, sum a_j^2 = 1: what a
// coordinate of any vector of squared norm d becomes under a randomised Hadamard transform.
// For any m, lambda and gamma >= 0, with f(z) = (z - c(z))^2,
//
//   f(z) <= top + m z^2 + gamma cosh(lambda z) for all z,   top := max_z f(z) - m z^2 - gamma cosh(lambda z),
//
// and E Z^2 = 1, E cosh(lambda Z) = prod_j cosh(lambda a_j) <= exp(lambda^2 / 2) (Hoeffding 1963); the least of these
// bounds is taken. For one bit also f(z) = z^2 - 2 c |z| + c^2 and E|Z| >= 1/sqrt(2) (Szarek 1976), which is attained
// by two equal elements.
double ErrorBound(const Codebook& codebook);

}  // namespace laconic::codebooks
