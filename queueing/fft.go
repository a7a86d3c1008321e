package queueing

import (
	"math"
	"math/cmplx"
)

// coefficients are the first N power-series coefficients of a generating function, N a power of two, from its values on
// the unit circle. Aliasing is the sum of the coefficients N, 2N, ... further on.
func coefficients(g func(complex128) complex128, N int) []float64 {
	x := make([]complex128, N)
	for i := range x {
		x[i] = g(cmplx.Exp(complex(0, 2*math.Pi*float64(i)/float64(N))))
	}
	transform(x)
	out := make([]float64, N)
	for i := range out {
		out[i] = real(x[i]) / float64(N)
	}
	return out
}

// transform is the discrete Fourier transform, in place: x[k] = sum x[i] exp(-2 pi i k/N).
func transform(x []complex128) {
	n := len(x)
	for i, j := 1, 0; i < n; i++ {
		bit := n >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		j ^= bit
		if i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size <<= 1 {
		step := cmplx.Exp(complex(0, -2*math.Pi/float64(size)))
		for i := 0; i < n; i += size {
			w := complex(1, 0)
			for j := 0; j < size/2; j++ {
				u, v := x[i+j], w*x[i+j+size/2]
				x[i+j], x[i+j+size/2] = u+v, u-v
				w *= step
			}
		}
	}
}
