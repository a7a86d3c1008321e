package load

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteTrace writes how many requests came in each second as a trace that a workload can replay.
func (r *Recording) WriteTrace(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("time,requests\n")
	seconds := make([]int64, 0, len(r.seconds))
	for s := range r.seconds {
		seconds = append(seconds, s)
	}
	slices.Sort(seconds)
	period := int64(r.period() / time.Second)
	from := r.From.Unix()
	count := int64(0)
	for i, s := range seconds {
		count += r.seconds[s]
		if i+1 < len(seconds) && (seconds[i+1]-from)/period == (s-from)/period {
			continue
		}
		at := from + (s-from)/period*period
		fmt.Fprintf(&b, "%s,%d\n", time.Unix(at, 0).UTC().Format(time.RFC3339), count)
		count = 0
	}
	_, err := w.Write(b.Bytes())
	return err
}

// period of the trace: a second, or a minute where a second would be too many samples.
func (r *Recording) period() time.Duration {
	if r.To.Sub(r.From) > maxTraceSamples*time.Second {
		return time.Minute
	}
	return time.Second
}

// YAML returns a topology file with nothing but the workload: a scenario of one step for each shape of request, weighted
// by how often it came, at the mean rate of the recording, or with the arrivals of the trace of that name where it is
// not empty.
func (r *Recording) YAML(system, trace string) []byte {
	shapes := make([]*shape, 0, len(r.shapes))
	for _, key := range sortedKeys(r.shapes) {
		shapes = append(shapes, r.shapes[key])
	}
	slices.SortStableFunc(shapes, func(a, b *shape) int { return cmp.Compare(b.count, a.count) })
	dropped := r.Dropped
	if len(shapes) > maxScenarios {
		for _, s := range shapes[maxScenarios:] {
			dropped += s.count
		}
		shapes = shapes[:maxScenarios]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s requests from %s to %s.\n", count(r.Requests), r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	notes := slices.Clone(r.Notes)
	if r.Skipped > 0 {
		notes = append(notes, fmt.Sprintf("Passed over, for they hold no request that a workload can send here: %s.", count(r.Skipped)))
	}
	if dropped > 0 {
		notes = append(notes, fmt.Sprintf("%s requests of rarer shapes are in the rate and not in the mix.", count(dropped)))
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "# %s\n", oneLine(n))
	}
	fmt.Fprintf(&b, "system: %s\nworkload:\n", quote(system))
	if trace != "" {
		fmt.Fprintf(&b, "  trace: {file: %s, period: %ds}\n", quote(trace), r.period()/time.Second)
	} else {
		fmt.Fprintf(&b, "  rate: %s\n", rateText(float64(r.Requests)/r.To.Sub(r.From).Seconds()))
	}
	names := scenarioNames(shapes)
	b.WriteString("  mix:\n")
	for i, s := range shapes {
		share := 100 * float64(s.count) / float64(r.Requests)
		fmt.Fprintf(&b, "    %s: %s%%\n", names[i], strconv.FormatFloat(max(share, 1e-6), 'f', 6, 64))
	}
	b.WriteString("  scenarios:\n")
	for i, s := range shapes {
		s.write(&b, names[i])
	}
	return []byte(b.String())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// rateText writes a rate with its unit so that no small one becomes 0.
func rateText(rate float64) string {
	if rate >= 0.1 {
		return strconv.FormatFloat(rate, 'f', 4, 64) + "/s"
	}
	return strconv.FormatFloat(rate*3600, 'f', 6, 64) + "/h"
}

// quote writes text as a YAML scalar in double quotes, in the form that JSON has too (YAML 1.2.2, 7.3.1).
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string never fails
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), "\x7f", `\u007f`), "\n")
}

// write writes the scenario of a shape.
func (s *shape) write(b *strings.Builder, name string) {
	if s.lostBody {
		fmt.Fprintf(b, "    # The body of this request was left out: it is long, or no text.\n")
	} else if s.bodies {
		fmt.Fprintf(b, "    # The recording has other bodies too: put in what differs, such as ${user} or a feeder's values.\n")
	}
	fmt.Fprintf(b, "    %s:\n      steps:\n        - name: %s\n          method: %s\n", name, quote(s.method+" "+s.label), s.method)
	fmt.Fprintf(b, "          path: %s\n", quote(s.path()))
	headers := [][2]string{{"Accept", s.first.accept}, {"Content-Type", s.first.contentType}}
	if !s.first.hasBody {
		headers = headers[:1]
	}
	var lines []string
	for _, h := range headers {
		if h[1] != "" && isText(h[1]) && !strings.ContainsAny(h[1], "\r\n") && len(h[1]) <= 1024 {
			lines = append(lines, h[0]+": "+quote(escapeDollar(h[1])))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "          headers: {%s}\n", strings.Join(lines, ", "))
	}
	if s.body != "" {
		fmt.Fprintf(b, "          body: %s\n", quote(escapeDollar(s.body)))
	}
	if codes := s.expected(); len(codes) > 0 {
		fmt.Fprintf(b, "          expect: {status: [%s]}\n", strings.Join(codes, ", "))
	}
}

func (s *shape) path() string {
	var b strings.Builder
	for _, p := range s.parts {
		b.WriteString(escapeDollar(p.text))
		if p.hole != nil {
			b.WriteString(p.hole.template())
		}
	}
	return b.String()
}

// expected are the statuses that count as good, where the usual ones do not cover what was recorded: refusals of the
// client are what the system should answer again, failures of the server are not.
func (s *shape) expected() (codes []string) {
	usual := true
	var seen []int
	for code := range s.statuses {
		if code >= 200 && code < 500 {
			seen = append(seen, code)
			usual = usual && code < 400
		}
	}
	if usual {
		return nil
	}
	slices.Sort(seen)
	for _, code := range seen {
		codes = append(codes, strconv.Itoa(code))
	}
	return codes
}

// scenarioNames names each shape after its method and path, by the rules of names in the file.
func scenarioNames(shapes []*shape) []string {
	taken := map[string]bool{}
	var names []string
	for _, s := range shapes {
		path, _, _ := strings.Cut(s.label, "?")
		words := strings.FieldsFunc(strings.ToLower(s.method+" "+path), func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9')
		})
		base := strings.Join(words, "-")
		if len(words) == 1 {
			base += "-root"
		}
		base = strings.TrimRight(base[:min(len(base), 50)], "-")
		name := base
		for n := 2; taken[name]; n++ {
			name = base + "-" + strconv.Itoa(n)
		}
		taken[name] = true
		names = append(names, name)
	}
	return names
}
