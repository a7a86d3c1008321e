package topology

// Calibration records the run that demands were derived from.
type Calibration struct {
	// Source names the run.
	Source string `yaml:"source"`
	// At is when the run ended, RFC 3339.
	At string `yaml:"at" schema:"format=time"`
	// Cores of the machine on which the run was made.
	Cores CPU `yaml:"cores"`
	// Throughput of the run in requests a second, all routes together: predictions far above it are extrapolations.
	Throughput float64 `yaml:"throughput" schema:"minimum=0"`
	// Rates of the run in requests a second, by route.
	Rates map[string]float64 `yaml:"rates" schema:"itemMinimum=0"`
	// Dispersion of the work that comes to the CPU: the variance of the work of a short span over its mean, where sessions
	// that come independently of each other make it 2. Clusters of sessions, long pauses for garbage collection and a
	// coarse scheduler make it more, and waiting longer in proportion.
	Dispersion float64 `yaml:"dispersion" schema:"minimum=0,maximum=1000,default=2"`
	// Slice is the time that the machine's scheduler lets a thread run at most while others are ready. With it 'simulate' has replicas
	// run as many requests at once as they have threads. 0: all at once.
	Slice Duration `yaml:"slice" schema:"maximum=1s"`
	// Apart is how much of one core's worth of threads the machine's scheduler leaves on the core where they were put, while others
	// have nothing to do. 0: none, every thread finds an idle core where there is one.
	Apart float64 `yaml:"apart" schema:"minimum=0,maximum=1"`
	// Idle is the CPU that each service uses without any request, in cores, by service name; 'gateway' and 'client' too.
	Idle map[string]float64 `yaml:"idle" schema:"itemMinimum=0"`
	// Services says how the times of each service vary, by service name.
	Services map[string]*CalibratedService `yaml:"services"`
	// Edges says how often services call each other, for each visit to the caller.
	Edges []CalibratedEdge `yaml:"edges" schema:"maxItems=100000"`
	// HitRatios of routes with an http_cache, by route name.
	HitRatios map[string]*CalibratedShare `yaml:"hit_ratios"`
	// USL is how throughput grows with the number of requests at once, from a sweep.
	USL *CalibratedUSL `yaml:"usl"`
}

// CalibratedService says how the time that a service takes for a visit, calls to others taken out, varies.
type CalibratedService struct {
	// Time that a visit took on average.
	Time Duration `yaml:"time" schema:"maximum=24h"`
	// SCV is the squared coefficient of variation.
	SCV float64 `yaml:"scv" schema:"minimum=0,maximum=1000000"`
	// SCVError is its standard error.
	SCVError float64 `yaml:"scv_error" schema:"minimum=0"`
	// Distribution that fits best: constant, exponential, gamma, lognormal or hyperexponential. Left out: not known, as of a
	// service that calls others.
	Distribution string `yaml:"distribution" schema:"enum=constant|exponential|gamma|lognormal|hyperexponential"`
	// Misfit is the largest distance between it and what was observed, of the cumulated shares.
	Misfit float64 `yaml:"misfit" schema:"minimum=0,maximum=1"`
}

// CalibratedEdge is how often one visit to a service calls another.
type CalibratedEdge struct {
	// From is the calling service.
	From string `yaml:"from" schema:"required"`
	// To is the called one.
	To string `yaml:"to" schema:"required"`
	// Calls of one visit.
	Calls float64 `yaml:"calls" schema:"minimum=0,maximum=1000000"`
	// Error is their standard error.
	Error float64 `yaml:"error" schema:"minimum=0"`
}

// CalibratedShare is a share with its standard error.
type CalibratedShare struct {
	// Share that was measured.
	Share float64 `yaml:"share" schema:"minimum=0,maximum=1"`
	// Error is its standard error.
	Error float64 `yaml:"error" schema:"minimum=0"`
}

// CalibratedUSL is the universal scalability law X(N) = gamma N / (1 + alpha (N-1) + beta N (N-1)) with the standard errors
// of its coefficients; 0: not known.
type CalibratedUSL struct {
	// Alpha is contention: the share of the work that one request does at a time.
	Alpha float64 `yaml:"alpha" schema:"minimum=0"`
	// AlphaError is its standard error.
	AlphaError float64 `yaml:"alpha_error" schema:"minimum=0"`
	// Beta is coherence: what requests at once cost each other.
	Beta float64 `yaml:"beta" schema:"minimum=0"`
	// BetaError is its standard error.
	BetaError float64 `yaml:"beta_error" schema:"minimum=0"`
	// Gamma is the throughput of one request at a time.
	Gamma float64 `yaml:"gamma" schema:"minimum=0"`
	// GammaError is its standard error.
	GammaError float64 `yaml:"gamma_error" schema:"minimum=0"`
	// Most is the largest number of requests at once that was tried.
	Most float64 `yaml:"most" schema:"minimum=0"`
}
