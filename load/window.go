package load

import (
	"fmt"
	"time"
)

// judgeWindows looks whether each window of the timeline keeps the threshold. Windows follow each other from the start of
// the measured part; what is left at the end is judged only if it is at least half a window, or all there is. Latencies
// count in the window in which the request ended, to 2 digits. A window in which requests were due and none ended has no
// latency below any limit.
func (t Threshold) judgeWindows(r *Result, v Verdict) Verdict {
	k := int(t.window / r.Timeline.Width)
	if r.Timeline.Width <= 0 || t.window%r.Timeline.Width != 0 || k < 1 {
		v.Value = fmt.Sprintf("unknown: the timeline of so long a run has points of %s", brief(r.Timeline.Width))
		return v
	}
	windows, broken := 0, 0
	worst, worstAt := "", 0
	var worstValue float64
	for i, p := range coarse(r.Timeline.Points, k) {
		length := min(t.window, r.Duration-time.Duration(i)*t.window)
		if length < t.window/2 && i > 0 || length <= 0 {
			break
		}
		x, words, ok := t.ofWindow(&p, length)
		if words == "" {
			continue // nothing was due and nothing ended
		}
		windows++
		if ok = ok && t.keeps(x); !ok {
			broken++
		}
		// The worst is the one furthest to the wrong side; one without a value is worse than all.
		if worse := t.op[0] == '<' && x > worstValue || t.op[0] == '>' && x < worstValue; worst == "" || worse {
			worst, worstAt, worstValue = words, i, x
		}
	}
	if windows == 0 {
		v.Value = "no window with requests"
		return v
	}
	at := time.Duration(worstAt) * t.window
	v.OK = broken == 0
	v.Value = fmt.Sprintf("%s in the worst of %d windows, from %s on; %d broken", worst, windows, brief(at), broken)
	return v
}

// beyondMeasure stands for a latency that no answer has ended.
const beyondMeasure = 1e300

// ofWindow is the figure of one window, in the unit of the limit; ok is false where it keeps no upper limit. Without words
// the window says nothing.
func (t Threshold) ofWindow(p *Point, length time.Duration) (x float64, words string, ok bool) {
	ended := p.Completed + p.Errors
	switch t.metric {
	case "rate":
		x = float64(p.Completed) / length.Seconds()
		return x, number(x) + "/s", true
	case "errors":
		switch {
		case ended == 0 && p.Offered == 0:
			return 0, "", true
		case ended == 0: // the target has stalled
			return 1, "nothing ended", t.op[0] == '>'
		}
		x = float64(p.Errors) / float64(ended)
		return x, percent(x), true
	}
	if p.Latency == nil || p.Latency.Count() == 0 {
		if p.Offered == 0 {
			return 0, "", true
		}
		return beyondMeasure, "no answer", t.op[0] == '>'
	}
	switch h := p.Latency; t.metric {
	case "min":
		x = float64(h.Min())
	case "mean":
		x = h.Mean()
	case "max":
		x = float64(h.Max())
	default:
		x = float64(h.Quantile(t.q))
	}
	return x, brief(time.Duration(x)), true
}
