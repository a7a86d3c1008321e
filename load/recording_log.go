package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// commonTime is how the common log format writes instants.
const commonTime = "02/Jan/2006:15:04:05 -0700"

// parseCommonLine reads a line of the common or combined log format of Apache and nginx:
// HOST IDENT USER [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES, and whatever follows.
func parseCommonLine(line []byte) (q recorded, ok bool, err error) {
	bad := func(what string) (recorded, bool, error) {
		return recorded{}, false, fmt.Errorf(`%.80q: %s: want HOST - USER [TIME] "METHOD PATH HTTP/1.1" STATUS BYTES`, line, what)
	}
	_, rest, found := strings.Cut(string(line), " [")
	if !found {
		return bad("no time")
	}
	if end := strings.Index(rest, "] "); end >= 0 && !strings.HasPrefix(rest[end:], `] "`) {
		return parseHAProxy(line, rest[:end], rest[end+2:])
	}
	at, rest, found := strings.Cut(rest, `] "`)
	if !found {
		return bad("no request after the time")
	}
	if q.at, err = time.Parse(commonTime, at); err != nil {
		return bad("time " + strconv.Quote(at))
	}
	request, rest, found := quoted(rest)
	if !found {
		return bad("the request has no closing quote")
	}
	status, _, _ := strings.Cut(strings.TrimPrefix(rest, " "), " ")
	if q.status, err = strconv.Atoi(status); err != nil || !strings.HasPrefix(rest, " ") || q.status < 0 || q.status > 999 {
		return bad("status " + strconv.Quote(status))
	}
	ok = q.request(request)
	return q, ok, nil
}

// haproxyTime is how HAProxy's HTTP log writes instants: without a zone, which is taken for UTC.
const haproxyTime = "02/Jan/2006:15:04:05.000"

// parseHAProxy reads what follows the client in a line of HAProxy's HTTP log (its manual, 8.2.3): the time, then FRONTEND
// BACKEND/SERVER TIMERS STATUS BYTES ... "METHOD TARGET PROTOCOL". Before the client syslog may have put its own.
func parseHAProxy(line []byte, at, rest string) (q recorded, ok bool, err error) {
	bad := func(what string) (recorded, bool, error) {
		return recorded{}, false, fmt.Errorf(`%.80q: %s: want CLIENT [TIME] FRONTEND BACKEND/SERVER TIMERS STATUS BYTES ... "METHOD PATH HTTP/1.1"`, line, what)
	}
	if q.at, err = time.Parse(haproxyTime, at); err != nil {
		return bad("time " + strconv.Quote(at))
	}
	plain, rest, found := strings.Cut(rest, ` "`)
	words := strings.Fields(plain)
	if !found || len(words) < 5 {
		return bad("no request at its end")
	}
	if q.status, err = strconv.Atoi(words[3]); err != nil || q.status < -1 || q.status > 999 {
		return bad("status " + strconv.Quote(words[3]))
	}
	request, _, found := quoted(rest)
	if !found {
		return bad("the request has no closing quote")
	}
	ok = q.request(request)
	return q, ok, nil
}

// quoted reads up to the closing quote, with what Apache and nginx write for bytes that they do not print.
func quoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case s[i+1] == 'x' && i+3 < len(s) && isHex(s[i+2]) && isHex(s[i+3]):
			n, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
			b.WriteByte(byte(n))
			i += 3
		default:
			b.WriteByte(s[i+1])
			i++
		}
	}
	return "", "", false
}

// request reads a request line; false if it is none.
func (q *recorded) request(line string) bool {
	words := strings.Split(line, " ")
	if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/") {
		return false
	}
	q.method, q.target = words[0], words[1]
	return true
}

// Names under which access logs in JSON keep what is needed; a dot leads into an object.
var (
	timeNames   = []string{"time", "timestamp", "ts", "@timestamp", "time_iso8601", "time_local", "msec", "StartUTC", "start_time", "date"}
	methodNames = []string{"method", "request_method", "http_method", "RequestMethod", "request.method", "http.request.method"}
	targetNames = []string{"request_uri", "uri", "path", "url", "RequestPath", "request.uri", "url.original", "url.path", "target"}
	statusNames = []string{"status", "status_code", "response_code", "DownstreamStatus", "response.status", "http.response.status_code"}
	queryNames  = []string{"query", "args", "query_string", "url.query"}
)

// parseJSONLine reads a line of a log in JSON. A line without a request is none of the access log's.
func parseJSONLine(line []byte) (q recorded, ok bool, err error) {
	var fields map[string]any
	if err := unwrapAny(line, &fields); err != nil {
		return q, false, fmt.Errorf("%.80q: %w", line, err)
	}
	if text, isText := lookUp(fields, []string{"request"}).(string); isText && q.request(text) {
		// a request line as nginx writes it
	} else {
		q.method, _ = lookUp(fields, methodNames).(string)
		q.target, _ = lookUp(fields, targetNames).(string)
		if query, _ := lookUp(fields, queryNames).(string); query != "" && !strings.Contains(q.target, "?") {
			q.target += "?" + strings.TrimPrefix(query, "?")
		}
	}
	if q.method == "" || q.target == "" {
		return q, false, nil
	}
	switch at := lookUp(fields, timeNames).(type) {
	case nil:
		return q, false, fmt.Errorf("a request without a time: want one of %s", strings.Join(timeNames, ", "))
	case string:
		q.at, err = parseInstant(at)
	case json.Number:
		q.at, err = parseInstant(at.String())
	default:
		err = errors.New("its time is neither text nor a number")
	}
	switch n := lookUp(fields, statusNames).(type) {
	case json.Number:
		q.status, _ = strconv.Atoi(n.String())
	case string:
		q.status, _ = strconv.Atoi(n)
	}
	return q, err == nil, err
}

func unwrapAny(line []byte, into *map[string]any) error {
	if err := unwrap(line, into); err != nil || *into == nil {
		return errors.New("want a JSON object on one line")
	}
	return nil
}

// lookUp returns the first of the names that is there.
func lookUp(fields map[string]any, names []string) any {
	for _, name := range names {
		if v := fields[name]; v != nil {
			return v
		}
		outer, inner, dotted := strings.Cut(name, ".")
		if within, ok := fields[outer].(map[string]any); dotted && ok {
			if v := lookUp(within, []string{inner}); v != nil {
				return v
			}
		}
	}
	return nil
}

// parseInstant reads RFC 3339, the common log format, or seconds, milliseconds, microseconds or nanoseconds since 1970,
// which are told apart by their size.
func parseInstant(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, commonTime, time.DateTime, "2006-01-02T15:04:05.999999999Z0700"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x > 0) || x > 1e19 {
		return time.Time{}, fmt.Errorf("time %.40q: want RFC 3339, 02/Jan/2006:15:04:05 -0700, or seconds since 1970", text)
	}
	for x > 1e11 {
		x /= 1000
	}
	whole, part := math.Modf(x)
	return time.Unix(int64(whole), int64(part*1e9)).UTC(), nil
}

// harEntry is what is read of an entry of a HAR.
type harEntry struct {
	Started string `json:"startedDateTime"`
	Request struct {
		Method  string    `json:"method"`
		URL     string    `json:"url"`
		Headers []harPair `json:"headers"`
		Post    *struct {
			Type   string    `json:"mimeType"`
			Text   string    `json:"text"`
			Params []harPair `json:"params"`
		} `json:"postData"`
	} `json:"request"`
	Response struct {
		Status int `json:"status"`
	} `json:"response"`
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Bounds of a HAR, whose entries are held until it is known which host they are for.
const (
	maxHAREntries = 200_000
	maxHARBytes   = 1 << 30
)

// readHAR reads the entries of a HAR one after the other, and takes those for host, or for the host that most are for.
func (r *Recording) readHAR(in io.Reader, host string) error {
	limited := &io.LimitedReader{R: in, N: maxHARBytes}
	d := json.NewDecoder(limited)
	if err := enterHAR(d); err != nil {
		return err
	}
	hosts := map[string]int64{}
	var all []recorded
	var of []string
	for n := 1; d.More(); n++ {
		var e harEntry
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		if n > maxHAREntries {
			return fmt.Errorf("more than %d entries", maxHAREntries)
		}
		q, where, err := e.recorded()
		if err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		all, of = append(all, q), append(of, where)
		hosts[where]++
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	if host == "" {
		for _, h := range sortedKeys(hosts) {
			if h != "" && hosts[h] > hosts[host] {
				host = h
			}
		}
	}
	for i, q := range all {
		if of[i] != host {
			r.Skipped++
			continue
		}
		ok, err := r.add(q)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
		if !ok {
			r.Skipped++
		}
	}
	delete(hosts, "")
	if len(hosts) > 1 {
		r.Notes = append(r.Notes, fmt.Sprintf("Only requests for %s were taken; the archive has %d hosts.", host, len(hosts)))
	}
	r.Notes = append(r.Notes, "Cookies, credentials and other headers of the archive were left out; paths and bodies are as recorded, and may hold secrets.")
	return nil
}

// enterHAR goes to the entries.
func enterHAR(d *json.Decoder) error {
	for _, want := range []string{"log", "entries"} {
		if t, err := d.Token(); err != nil || t != json.Delim('{') {
			return errors.New("not a HAR: want {\"log\": {\"entries\": [...]}}")
		}
		for {
			t, err := d.Token()
			if err != nil || t == json.Delim('}') {
				return fmt.Errorf("not a HAR: it has no %s", want)
			}
			if t == want {
				break
			}
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return fmt.Errorf("not a HAR: %w", err)
			}
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("not a HAR: its entries are no list")
	}
	return nil
}

// recorded returns the entry's request and its host; without a host if it is none of HTTP.
func (e *harEntry) recorded() (q recorded, host string, err error) {
	if q.at, err = time.Parse(time.RFC3339Nano, e.Started); err != nil {
		return q, "", fmt.Errorf("startedDateTime %.40q: want RFC 3339", e.Started)
	}
	u, err := url.Parse(e.Request.URL)
	if err != nil {
		return q, "", fmt.Errorf("url %.80q: not a URL", e.Request.URL)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return q, "", nil
	}
	q.method, q.target, q.status = e.Request.Method, u.RequestURI(), e.Response.Status
	for _, h := range e.Request.Headers {
		switch strings.ToLower(h.Name) {
		case "accept":
			q.accept = h.Value
		case "content-type":
			q.contentType = h.Value
		}
	}
	if p := e.Request.Post; p != nil {
		q.hasBody, q.body = true, p.Text
		if q.contentType == "" {
			q.contentType = p.Type
		}
		if p.Text == "" && len(p.Params) > 0 {
			form := make([]string, len(p.Params))
			for i, pair := range p.Params {
				form[i] = url.QueryEscape(pair.Name) + "=" + url.QueryEscape(pair.Value)
			}
			q.body = strings.Join(form, "&")
		}
	}
	return q, u.Host, nil
}
