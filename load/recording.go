package load

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of a recording: it comes from outside. Memory grows with the shapes of the requests, not with their number.
const (
	maxRecordingBytes = 64 << 30 // unpacked
	maxRecordingLine  = 1 << 20
	maxTarget         = 8 << 10
	maxShapes         = 10_000
	maxHoles          = 64
	maxKeptValues     = 64
	maxPicked         = 20
	maxKeptBody       = 64 << 10
	maxKeptBodies     = 512 << 10
	maxScenarios      = 200
	maxRecordedSpan   = 10 * 365 * 24 * time.Hour
)

// Recording is what was asked of a system, as a file tells: requests of one shape (method, path with its numbers and
// identifiers left open, names of the query) taken together, and how many came in each second.
type Recording struct {
	// Requests that were understood; Skipped are lines and entries that hold no HTTP request of the workload's
	// vocabulary, or are for another host; Dropped are requests of shapes beyond the number that is kept.
	Requests, Skipped, Dropped int64
	// From is the second of the first request, To the end of the second of the last.
	From, To time.Time
	// Notes are sentences about what the workload does not say of the recording.
	Notes []string

	shapes  map[string]*shape
	seconds map[int64]int64
	bodies  int // bytes kept
}

// recorded is one request of a recording.
type recorded struct {
	at          time.Time
	method      string
	target      string // path and query, or an absolute URL
	status      int    // 0: not known
	accept      string
	contentType string
	body        string
	hasBody     bool
}

// shape are all requests that look alike.
type shape struct {
	method   string
	label    string // for people: /products/{number}?page
	parts    []shapePart
	count    int64
	statuses map[int]int64
	first    recorded // whose headers and body are used
	body     string
	bodies   bool // there were others
	lostBody bool
}

// shapePart is text, then a value that differs.
type shapePart struct {
	text string
	hole *hole // nil after the last text
}

// hole is the place of a value in a path or a query.
type hole struct {
	kind   string // number, uuid, id or value
	query  bool
	counts map[string]int64
	more   bool // other values than those counted
	lo, hi int64
}

var (
	numberForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})$`)
	uuidForm   = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)
	digitsForm = regexp.MustCompile(`^[0-9]+$`)
	hexForm    = regexp.MustCompile(`^[0-9A-Fa-f]{16,}$`)
)

// kindOfSegment says what a segment of a path stands for; empty for a word of its own.
func kindOfSegment(s string) string {
	switch {
	case numberForm.MatchString(s):
		return "number"
	case uuidForm.MatchString(s):
		return "uuid"
	case digitsForm.MatchString(s), hexForm.MatchString(s) && strings.ContainsAny(s, "0123456789"):
		return "id"
	}
	return ""
}

// ImportOptions say how a recording is read.
type ImportOptions struct {
	// Format: har, common, combined or json. Empty: found out from the start of the file.
	Format string
	// Host whose requests of a HAR are taken. Empty: the one that most entries of its start are for.
	Host string
}

// Import reads a recording, gzip'd or not: a HAR (HTTP Archive 1.2), or an access log of one request a line in the common
// or combined format, or in JSON. A line that is not of the format is an error with its number; one that records no
// request of HTTP (a broken handshake, say) is skipped and counted.
func Import(in io.Reader, o ImportOptions) (*Recording, error) {
	r := &Recording{shapes: map[string]*shape{}, seconds: map[int64]int64{}}
	limited, err := unpacked(in, maxRecordingBytes)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	text := bufio.NewReaderSize(limited, 64<<10)
	if o.Format == "" {
		o.Format = formatOf(text)
	}
	switch o.Format {
	case "har":
		err = r.readHAR(text, o.Host)
	case "json":
		err = r.readLines(text, parseJSONLine)
	case "common", "combined":
		err = r.readLines(text, parseCommonLine)
	default:
		err = fmt.Errorf("format %.40q: want har, common, combined or json", o.Format)
	}
	switch {
	case err != nil:
	case limited.N <= 0:
		err = fmt.Errorf("longer than %d GiB unpacked", maxRecordingBytes>>30)
	case r.Requests == 0 && r.Skipped > 0:
		err = fmt.Errorf("none of %d entries is a request of HTTP with a method, a path and a time", r.Skipped)
	case r.Requests == 0:
		err = errors.New("there is no request in it")
	}
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	return r, nil
}

// harStart is how a HAR begins: its only member is log.
var harStart = regexp.MustCompile(`^\s*\{\s*"log"\s*:\s*\{`)

func formatOf(in *bufio.Reader) string {
	start, _ := in.Peek(4096)
	text := strings.TrimPrefix(string(start), "\ufeff")
	switch {
	case harStart.MatchString(text):
		return "har"
	case strings.HasPrefix(strings.TrimSpace(text), "{"):
		return "json"
	}
	return "combined"
}

// readLines reads a log of one request a line. parse returns false for a line without a request.
func (r *Recording) readLines(in io.Reader, parse func(line []byte) (recorded, bool, error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxRecordingLine)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if n == 1 {
			line = []byte(strings.TrimPrefix(string(line), "\ufeff"))
		}
		if len(trim(line)) == 0 {
			continue
		}
		q, ok, err := parse(line)
		if err == nil && ok {
			ok, err = r.add(q)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if !ok {
			r.Skipped++
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d KiB", n+1, maxRecordingLine>>10)
	} else if err != nil {
		return err
	}
	return nil
}

// add counts a request; false where it is none that a workload can send.
func (r *Recording) add(q recorded) (bool, error) {
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, q.method) || len(q.target) > maxTarget {
		return false, nil
	}
	if _, rest, ok := strings.Cut(q.target, "://"); ok && !strings.HasPrefix(q.target, "/") {
		i := strings.IndexAny(rest, "/?")
		if i < 0 {
			rest, i = rest+"/", len(rest)
		}
		if q.target = rest[i:]; q.target[0] == '?' {
			q.target = "/" + q.target
		}
	}
	if !strings.HasPrefix(q.target, "/") {
		return false, nil
	}
	second := q.at.Truncate(time.Second).UTC()
	from, to := second, second.Add(time.Second)
	if r.Requests > 0 {
		if r.From.Before(from) {
			from = r.From
		}
		if r.To.After(to) {
			to = r.To
		}
	}
	if to.Sub(from) > maxRecordedSpan || second.Year() < 1980 || second.Year() > 9000 {
		return false, fmt.Errorf("its time, %s, is years from the others, or no time of a request", second.Format(time.RFC3339))
	}
	if len(r.seconds) >= maxTraceSamples && r.seconds[second.Unix()] == 0 {
		return false, fmt.Errorf("requests in more than %d seconds", maxTraceSamples)
	}
	r.From, r.To = from, to
	r.Requests++
	r.seconds[second.Unix()]++
	r.shape(q)
	return true, nil
}

// shape counts q under its shape.
func (r *Recording) shape(q recorded) {
	target, _, _ := strings.Cut(q.target, "#")
	parts, values, label := split(escapeTarget(target))
	key := q.method + " " + label
	s := r.shapes[key]
	if s == nil {
		if len(r.shapes) == maxShapes {
			r.Dropped++
			return
		}
		s = &shape{method: q.method, label: label, parts: parts, statuses: map[int]int64{}, first: q}
		s.first.body = ""
		r.shapes[key] = s
		if q.hasBody {
			s.lostBody = len(q.body) > maxKeptBody || r.bodies+len(q.body) > maxKeptBodies || !isText(q.body)
			if !s.lostBody {
				s.body = q.body
				r.bodies += len(q.body)
			}
		}
	} else if q.hasBody && q.body != s.body {
		s.bodies = true
	}
	s.count++
	if q.status >= 100 && q.status <= 599 {
		s.statuses[q.status]++
	}
	i := 0
	for _, p := range s.parts {
		if p.hole != nil {
			p.hole.count(values[i])
			i++
		}
	}
}

func isText(s string) bool {
	for _, c := range s {
		if c == 0xfffd || !unicode.IsPrint(c) && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// split takes a target apart: its fixed text, the values between, and a label that is the same for all of its shape.
func split(target string) (parts []shapePart, values []string, label string) {
	path, query, hasQuery := strings.Cut(target, "?")
	var text, name strings.Builder
	open := func(kind, value string, inQuery bool) {
		parts = append(parts, shapePart{text.String(), &hole{kind: kind, query: inQuery, counts: map[string]int64{}}})
		values = append(values, value)
		text.Reset()
	}
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			text.WriteByte('/')
			name.WriteByte('/')
		}
		if kind := kindOfSegment(segment); kind != "" && len(values) < maxHoles {
			open(kind, segment, false)
			name.WriteString("{" + kind + "}")
		} else {
			text.WriteString(segment)
			name.WriteString(segment)
		}
	}
	if !hasQuery {
		return append(parts, shapePart{text.String(), nil}), values, name.String()
	}
	text.WriteByte('?')
	name.WriteByte('?')
	for i, pair := range strings.Split(query, "&") {
		if i > 0 {
			text.WriteByte('&')
			name.WriteByte('&')
		}
		key, value, hasValue := strings.Cut(pair, "=")
		text.WriteString(key)
		name.WriteString(key)
		if !hasValue {
			continue
		}
		text.WriteByte('=')
		if len(values) < maxHoles {
			open("value", value, true)
		} else {
			text.WriteString(value)
			name.WriteString("=" + value)
		}
	}
	return append(parts, shapePart{text.String(), nil}), values, name.String()
}

func (h *hole) count(value string) {
	if h.kind == "value" || h.kind == "number" {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && numberForm.MatchString(value) {
			if len(h.counts) == 0 && !h.more {
				h.lo, h.hi = n, n
				h.kind = "number"
			}
			h.lo, h.hi = min(h.lo, n), max(h.hi, n)
		} else {
			h.kind = "words"
		}
	}
	if _, known := h.counts[value]; !known && (len(h.counts) == maxKeptValues || len(value) > 256) {
		h.more = true
		return
	}
	h.counts[value]++
}

// template is what a request of the workload has in this place: the only value, one of the few, or any in the range.
func (h *hole) template() string {
	values := make([]string, 0, len(h.counts))
	for v := range h.counts {
		values = append(values, v)
	}
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(cmp.Compare(h.counts[b], h.counts[a]), cmp.Compare(a, b))
	})
	few := !h.more && len(values) <= maxPicked
	switch {
	case !h.more && len(values) == 1:
		return escapeDollar(values[0])
	case !few && h.kind == "number":
		return fmt.Sprintf("${random:%d:%d}", h.lo, h.hi)
	case !few && h.kind == "uuid":
		return "${uuid}"
	}
	var words []string
	for _, v := range values {
		plain, err := url.PathUnescape(v)
		if h.query {
			plain, err = url.QueryUnescape(v)
		}
		if err == nil && plain != "" && !strings.ContainsAny(plain, ",}") && isText(plain) && len(words) < maxPicked {
			words = append(words, plain)
		}
	}
	switch {
	case len(words) > 1:
		return "${pick:" + strings.Join(words, ",") + "}"
	case len(values) == 0:
		return ""
	}
	return escapeDollar(values[0])
}

// escapeDollar writes text so that nothing in it is taken for a variable.
func escapeDollar(text string) string { return strings.ReplaceAll(text, "${", "$${") }
