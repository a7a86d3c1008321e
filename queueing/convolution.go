package queueing

import "math"

// convolve solves a single closed class whose stations may have several
// servers. All terms are positive, so nothing cancels; the weights are scaled
// by the largest demand so that nothing overflows.
func (n *Network) convolve(s *Solution) {
	class := &n.Classes[0]
	N := class.Population
	scale := 0.0
	for k, d := range class.Demands {
		if c := float64(n.Stations[k].servers()); !n.Stations[k].delay() {
			d /= c
		}
		scale = max(scale, d)
	}
	scale = max(scale, class.Think/float64(N))
	K := len(n.Stations)
	weights := make([][]float64, K+1) // log f_k(j); the think time is station K
	for k := range n.Stations {
		weights[k] = stationWeights(class.Demands[k]/scale, &n.Stations[k], N)
	}
	weights[K] = stationWeights(class.Think/scale, &Station{Kind: Delay}, N)
	// G without station k = prefix(k) * suffix(k).
	prefix, suffix := make([][]float64, K+2), make([][]float64, K+2)
	prefix[0], suffix[K+1] = one(N), one(N)
	for k := 0; k <= K; k++ {
		prefix[k+1] = logConvolve(prefix[k], weights[k])
		j := K - k
		suffix[j] = logConvolve(suffix[j+1], weights[j])
	}
	g := suffix[0]
	x := math.Exp(g[N-1]-g[N]) / scale
	s.Throughput[0] = x
	for k := range n.Stations {
		st := &n.Stations[k]
		if st.delay() || class.Demands[k] == 0 {
			s.Residence[0][k] = class.Demands[k]
			continue
		}
		without := logConvolve(prefix[k], suffix[k+1])
		mean := 0.0
		for j := 1; j <= N; j++ {
			mean += float64(j) * math.Exp(weights[k][j]+without[N-j]-g[N])
		}
		s.Residence[0][k] = mean / x
	}
}

// stationWeights are log f(j) = log prod_{i<=j} d/min(i,c), j = 0..N.
func stationWeights(d float64, st *Station, N int) []float64 {
	w := make([]float64, N+1)
	for j := 1; j <= N; j++ {
		rate := j
		if !st.delay() {
			rate = min(j, st.servers())
		}
		w[j] = w[j-1] + math.Log(d) - math.Log(float64(rate))
	}
	return w
}

func one(N int) []float64 {
	w := make([]float64, N+1)
	for j := 1; j <= N; j++ {
		w[j] = math.Inf(-1)
	}
	return w
}

// logConvolve is the convolution of two sequences given and returned as
// logarithms. Each output is a sum of exponentials relative to its largest term;
// terms below one part in 1e17 of it are skipped.
func logConvolve(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for n := range out {
		top := math.Inf(-1)
		for j := 0; j <= n; j++ {
			top = math.Max(top, a[j]+b[n-j])
		}
		if math.IsInf(top, -1) {
			out[n] = top
			continue
		}
		total := 0.0
		for j := 0; j <= n; j++ {
			if x := a[j] + b[n-j] - top; x > -40 {
				total += math.Exp(x)
			}
		}
		out[n] = top + math.Log(total)
	}
	return out
}
