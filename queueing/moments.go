package queueing

// GammaQuantile is the quantile p (0 < p < 1) of the gamma distribution of that mean and variance: the two-moment fit
// by which this package turns means and variances of response times into percentiles. A variance of 0 gives the mean.
func GammaQuantile(mean, variance, p float64) (float64, error) {
	if err := checkNonNegative("mean", mean); err != nil {
		return 0, err
	}
	if err := checkNonNegative("variance", variance); err != nil {
		return 0, err
	}
	if err := checkProbability("percentile", p); err != nil {
		return 0, err
	}
	return gammaQuantile(mean, variance, p), nil
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
