package plan

import (
	"fmt"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// beyondSweep says where a predicted throughput is more than what a sweep found that the system can reach at all.
func beyondSweep(k *topology.CalibratedUSL, throughput float64) []string {
	if k == nil || !(k.Gamma > 0) {
		return nil
	}
	law := queueing.USL{Alpha: k.Alpha, Beta: k.Beta, Gamma: k.Gamma}
	peak, most := "", 0.0
	switch {
	case k.Beta > 0 && k.Alpha < 1:
		users, x, err := law.Peak()
		if err != nil {
			return nil
		}
		peak, most = fmt.Sprintf("peaks at %.0f/s with %.0f requests at once", x, users), x
	case k.Alpha > 0:
		most = k.Gamma / k.Alpha
		peak = fmt.Sprintf("never exceeds %.0f/s", most)
	default:
		return nil
	}
	if throughput <= 0.9*most {
		return nil
	}
	return []string{fmt.Sprintf("by the calibration's sweep, of its own mix of requests, throughput %s (contention %.3f +-%.3f, coherence %.5f +-%.5f): the model does not know what requests cost each other",
		peak, k.Alpha, k.AlphaError, k.Beta, k.BetaError)}
}
