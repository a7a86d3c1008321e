package queueing

// FittedQuantile is the quantile p (0 < p < 1) of the distribution that stands for a time of that mean and variance
// wherever this package turns two moments into percentiles: gamma up to the variance of an exponential, the
// hyperexponential with balanced means above it, the mean itself where the variance is 0.
func FittedQuantile(mean, variance, p float64) (float64, error) {
	if err := checkNonNegative("mean", mean); err != nil {
		return 0, err
	}
	if err := checkNonNegative("variance", variance); err != nil {
		return 0, err
	}
	if err := checkProbability("percentile", p); err != nil {
		return 0, err
	}
	return fittedQuantile(mean, variance, p), nil
}

// PSVariance is the variance of the sojourn at a processor-sharing station (Ott 1984), for a service time of that
// mean and squared coefficient of variation, where the mean sojourn is stretch times the service: mean x stretch.
func PSVariance(mean, scv, stretch float64) (float64, error) {
	for name, v := range map[string]float64{"mean": mean, "SCV": scv} {
		if err := checkNonNegative(name, v); err != nil {
			return 0, err
		}
	}
	if err := checkNonNegative("stretch - 1", stretch-1); err != nil {
		return 0, err
	}
	return psVariance(mean, scv, 1-1/stretch), nil
}
