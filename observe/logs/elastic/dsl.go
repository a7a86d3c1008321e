package elastic

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

// Bounds on queries.
const (
	maxQueryDepth = 30
	maxClauses    = 1024
	maxPattern    = 1000
)

// compiler makes filters of the query DSL. Bounds on @timestamp that every hit must meet are kept apart, so that a search reads no more
// than they take.
type compiler struct {
	now      time.Time
	from, to int64 // to is not in it; 0: none
	clauses  int
}

// query compiles {"match": {...}} and the like. must says that every hit meets it.
func (c *compiler) query(data json.RawMessage, must bool, depth int) (segment.Filter, error) {
	if depth > maxQueryDepth {
		return nil, badRequest("parsing_exception", "the query is nested more than %d deep", maxQueryDepth)
	}
	if c.clauses++; c.clauses > maxClauses {
		return nil, badRequest("too_many_clauses", "more than %d clauses", maxClauses)
	}
	var clause map[string]json.RawMessage
	if err := json.Unmarshal(data, &clause); err != nil {
		return nil, badRequest("parsing_exception", "a query is expected: %v", err)
	}
	if len(clause) != 1 {
		return nil, badRequest("parsing_exception", "a query has one name, not %d", len(clause))
	}
	for kind, body := range clause {
		return c.clause(kind, body, must, depth)
	}
	return nil, nil
}

func (c *compiler) clause(kind string, body json.RawMessage, must bool, depth int) (segment.Filter, error) {
	switch kind {
	case "match_all":
		return segment.All(), nil
	case "match_none":
		return segment.Or(), nil
	case "bool":
		return c.boolean(body, must, depth)
	case "constant_score":
		var v struct{ Filter json.RawMessage }
		if err := parse(body, &v); err != nil {
			return nil, err
		}
		return c.query(v.Filter, must, depth+1)
	case "query_string", "simple_query_string":
		return c.queryString(body)
	case "multi_match":
		return multiMatch(body)
	case "ids":
		var v struct{ Values []string }
		if err := parse(body, &v); err != nil {
			return nil, err
		}
		return idFilter(v.Values), nil
	case "exists":
		var v struct{ Field string }
		if err := parse(body, &v); err != nil {
			return nil, err
		}
		if v.Field == "@timestamp" || v.Field == "_id" || v.Field == "_index" {
			return segment.All(), nil
		}
		return segment.Has(fieldName(v.Field)), nil
	case "terms":
		return terms(body)
	case "match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "term", "prefix", "wildcard", "regexp", "range":
	default:
		return nil, unsupported("the query " + kind)
	}
	var fields map[string]json.RawMessage
	if err := parse(body, &fields); err != nil {
		return nil, err
	}
	if len(fields) != 1 {
		return nil, badRequest("parsing_exception", "[%s] has one field, not %d", kind, len(fields))
	}
	for field, value := range fields {
		if kind == "range" {
			return c.rangeOf(field, value, must)
		}
		return ofField(kind, field, value)
	}
	return nil, nil
}

func parse(data json.RawMessage, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return badRequest("parsing_exception", "%v", err)
	}
	return nil
}

func (c *compiler) boolean(body json.RawMessage, must bool, depth int) (segment.Filter, error) {
	var v struct {
		Must, Filter, Should json.RawMessage
		MustNot              json.RawMessage `json:"must_not"`
		Minimum              json.RawMessage `json:"minimum_should_match"`
	}
	if err := parse(body, &v); err != nil {
		return nil, err
	}
	var all []segment.Filter
	for _, part := range []json.RawMessage{v.Must, v.Filter} {
		fs, err := c.list(part, must, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, fs...)
	}
	required := len(all)
	nots, err := c.list(v.MustNot, false, depth)
	if err != nil {
		return nil, err
	}
	for _, f := range nots {
		all = append(all, segment.Not(f))
	}
	should, err := c.list(v.Should, false, depth)
	if err != nil {
		return nil, err
	}
	minimum := 0
	if required == 0 {
		minimum = 1
	}
	if len(v.Minimum) > 0 {
		if minimum, err = strconv.Atoi(strings.Trim(string(v.Minimum), `"`)); err != nil || minimum < 0 || minimum > 1 && minimum != len(should) {
			return nil, unsupported("minimum_should_match " + string(v.Minimum) + " (0, 1 and all are)")
		}
	}
	switch {
	case len(should) == 0 || minimum == 0:
	case minimum == 1:
		all = append(all, segment.Or(should...))
	default:
		all = append(all, should...)
	}
	return segment.And(all...), nil
}

// list compiles one query or an array of them.
func (c *compiler) list(data json.RawMessage, must bool, depth int) (all []segment.Filter, err error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	clauses := []json.RawMessage{data}
	if data[0] == '[' {
		if err := parse(data, &clauses); err != nil {
			return nil, err
		}
	}
	for _, clause := range clauses {
		f, err := c.query(clause, must, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// fieldName is the name that a field is kept under: message.keyword is message itself.
func fieldName(name string) string {
	switch name {
	case "_index":
		return labelIndex
	case "log.level":
		return name
	}
	return strings.TrimSuffix(name, ".keyword")
}

// scalar reads a value as the text that a field has: a string, number or boolean.
func scalar(data json.RawMessage) (string, error) {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return "", badRequest("parsing_exception", "%v", err)
		}
		return s, nil
	}
	text := strings.TrimSpace(string(data))
	if text == "" || text[0] == '{' || text[0] == '[' || text == "null" {
		return "", badRequest("parsing_exception", "a string, number or boolean is expected, not %.60s", text)
	}
	return text, nil
}

// option is a value that stands alone or in an object with options: "x" or {"query": "x", "operator": "and"}.
type option struct {
	Query    json.RawMessage
	Value    json.RawMessage
	Operator string
	Fold     bool `json:"case_insensitive"`
}

func (o *option) read(data json.RawMessage) (string, error) {
	if len(data) == 0 || data[0] != '{' {
		return scalar(data)
	}
	if err := parse(data, o); err != nil {
		return "", err
	}
	if o.Query != nil {
		return scalar(o.Query)
	}
	return scalar(o.Value)
}

// ofField compiles the queries of one field.
func ofField(kind, field string, data json.RawMessage) (segment.Filter, error) {
	var o option
	text, err := o.read(data)
	if err != nil {
		return nil, err
	}
	name := fieldName(field)
	if field == "_id" {
		return idFilter([]string{text}), nil
	}
	switch kind {
	case "match":
		if strings.HasSuffix(field, ".keyword") || field == "_index" {
			return segment.Equals(name, text), nil
		}
		return matchWords(name, text, strings.EqualFold(o.Operator, "and")), nil
	case "match_phrase":
		return segment.FieldPhrase(name, text), nil
	case "match_phrase_prefix", "match_bool_prefix":
		return segment.FieldPrefix(name, text), nil
	case "term":
		if o.Fold {
			return segment.FieldFunc(name, func(v string) bool { return strings.EqualFold(v, text) }), nil
		}
		return segment.Equals(name, text), nil
	case "prefix":
		return segment.FieldFunc(name, func(v string) bool { return strings.HasPrefix(v, text) }), nil
	case "wildcard":
		if len(text) > maxPattern {
			return nil, badRequest("illegal_argument_exception", "a pattern of more than %d bytes", maxPattern)
		}
		return segment.FieldFunc(name, func(v string) bool { return wildcardMatch(text, v) }), nil
	}
	re, err := pattern(text)
	if err != nil {
		return nil, err
	}
	return segment.FieldFunc(name, re.MatchString), nil
}

// pattern compiles a regular expression, which matches a value as a whole.
func pattern(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, badRequest("illegal_argument_exception", "a regular expression of more than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(`^(?s:` + text + `)$`)
	if err != nil {
		return nil, badRequest("illegal_argument_exception", "%v", err)
	}
	return re, nil
}

// matchWords wants any of the words, or all of them.
func matchWords(name, text string, all bool) segment.Filter {
	words := segment.Words(text)
	if len(words) == 0 {
		return segment.FieldPhrase(name, text)
	}
	var fs []segment.Filter
	for _, w := range words {
		fs = append(fs, segment.FieldPhrase(name, w))
	}
	if all {
		return segment.And(fs...)
	}
	return segment.Or(fs...)
}

func multiMatch(body json.RawMessage) (segment.Filter, error) {
	var v struct {
		Query    json.RawMessage
		Fields   []string
		Type     string
		Operator string
	}
	if err := parse(body, &v); err != nil {
		return nil, err
	}
	text, err := scalar(v.Query)
	if err != nil {
		return nil, err
	}
	one := func(name string) segment.Filter {
		if strings.HasPrefix(v.Type, "phrase") {
			return segment.FieldPhrase(name, text)
		}
		return matchWords(name, text, strings.EqualFold(v.Operator, "and"))
	}
	if len(v.Fields) == 0 || len(v.Fields) == 1 && v.Fields[0] == "*" {
		return one(""), nil
	}
	if len(v.Fields) > 100 {
		return nil, badRequest("illegal_argument_exception", "more than 100 fields")
	}
	var fs []segment.Filter
	for _, f := range v.Fields {
		name, _, _ := strings.Cut(f, "^")
		if strings.Contains(name, "*") {
			return nil, unsupported("a pattern for the name of a field")
		}
		fs = append(fs, one(fieldName(name)))
	}
	return segment.Or(fs...), nil
}

func terms(body json.RawMessage) (segment.Filter, error) {
	var fields map[string]json.RawMessage
	if err := parse(body, &fields); err != nil {
		return nil, err
	}
	delete(fields, "boost")
	if len(fields) != 1 {
		return nil, badRequest("parsing_exception", "[terms] has one field, not %d", len(fields))
	}
	var fs []segment.Filter
	for field, data := range fields {
		var values []json.RawMessage
		if err := parse(data, &values); err != nil {
			return nil, err
		}
		if len(values) > maxClauses {
			return nil, badRequest("too_many_clauses", "more than %d values", maxClauses)
		}
		for _, data := range values {
			v, err := scalar(data)
			if err != nil {
				return nil, err
			}
			if field == "_id" {
				fs = append(fs, idFilter([]string{v}))
			} else {
				fs = append(fs, segment.Equals(fieldName(field), v))
			}
		}
	}
	return segment.Or(fs...), nil
}

// idFilter wants documents by _id: one that they came with, or their place.
func idFilter(ids []string) segment.Filter {
	var fs []segment.Filter
	for _, id := range ids {
		fs = append(fs, segment.Equals(fieldID, id))
		at, seq, ok := strings.Cut(id, "-")
		t, err1 := strconv.ParseInt(at, 10, 64)
		n, err2 := strconv.ParseUint(seq, 10, 64)
		if ok && err1 == nil && err2 == nil {
			fs = append(fs, segment.RowFunc(func(r segment.Row) bool { return r.Seq() == n && r.Time() == t }))
		}
	}
	return segment.Or(fs...)
}

// rangeOf compiles bounds on a field, or on the time.
func (c *compiler) rangeOf(field string, data json.RawMessage, must bool) (segment.Filter, error) {
	var v map[string]json.RawMessage
	if err := parse(data, &v); err != nil {
		return nil, err
	}
	name := fieldName(field)
	var fs []segment.Filter
	for op, data := range v {
		switch op {
		case "gt", "gte", "lt", "lte":
		case "format", "time_zone", "boost", "relation":
			continue
		default:
			return nil, unsupported("range with " + op)
		}
		if string(data) == "null" {
			continue
		}
		text, err := scalar(data)
		if err != nil {
			return nil, err
		}
		f, err := c.bound(field, name, op, text, must)
		if err != nil {
			return nil, err
		}
		fs = append(fs, f)
	}
	return segment.And(fs...), nil
}

func (c *compiler) bound(field, name, op, text string, must bool) (segment.Filter, error) {
	if field == "@timestamp" {
		at, err := dateMath(text, c.now, op == "lte" || op == "gt")
		if err != nil {
			return nil, err
		}
		from, to := int64(-1<<63), int64(0)
		switch op {
		case "gte":
			from = at
		case "gt":
			from = at + 1
		case "lt":
			to = at
		case "lte":
			to = at + 1
		}
		if must {
			c.from = max(c.from, from)
			if to != 0 && (c.to == 0 || to < c.to) {
				c.to = to
			}
		}
		return segment.RowFunc(func(r segment.Row) bool { return r.Time() >= from && (to == 0 || r.Time() < to) }), nil
	}
	compare := map[string]func(int) bool{
		"gt": func(n int) bool { return n > 0 }, "gte": func(n int) bool { return n >= 0 },
		"lt": func(n int) bool { return n < 0 }, "lte": func(n int) bool { return n <= 0 },
	}[op]
	limit, number := logs.Number(text)
	return segment.FieldFunc(name, func(v string) bool {
		if n, ok := logs.Number(v); ok && number {
			switch {
			case n < limit:
				return compare(-1)
			case n > limit:
				return compare(1)
			}
			return compare(0)
		}
		return !number && compare(strings.Compare(v, text))
	}), nil
}

var dateMathPart = regexp.MustCompile(`^([+-])(\d{1,9})([yMwdhHms])|^/([yMwdhHms])`)

// dateMath reads now-15m, 2026-11-29||+1d/d, a date, or milliseconds. up rounds to the end of a unit, as for lte and gt.
func dateMath(text string, now time.Time, up bool) (int64, error) {
	t, rest := now.UTC(), ""
	if after, ok := strings.CutPrefix(text, "now"); ok {
		rest = after
	} else {
		var date string
		date, rest, _ = strings.Cut(text, "||")
		at, ok := parseTime(date)
		if !ok {
			return 0, badRequest("parse_exception", "failed to parse date field [%.100s]", text)
		}
		t = time.Unix(0, at).UTC()
	}
	for rest != "" {
		m := dateMathPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, badRequest("parse_exception", "failed to parse date math [%.100s]", text)
		}
		rest = rest[len(m[0]):]
		if m[4] != "" {
			t = roundTo(t, m[4], up)
			continue
		}
		n, _ := strconv.Atoi(m[1] + m[2])
		t = plus(t, n, m[3])
	}
	if !inRange(t) {
		return 0, badRequest("parse_exception", "the date [%.100s] is out of range", text)
	}
	return t.UnixNano(), nil
}

func plus(t time.Time, n int, unit string) time.Time {
	n = min(max(n, -10000000), 10000000)
	switch unit {
	case "y":
		return t.AddDate(min(max(n, -5000), 5000), 0, 0)
	case "M":
		return t.AddDate(0, min(max(n, -60000), 60000), 0)
	case "w":
		return t.AddDate(0, 0, 7*min(max(n, -200000), 200000))
	case "d":
		return t.AddDate(0, 0, min(max(n, -1000000), 1000000))
	}
	d := map[string]time.Duration{"h": time.Hour, "H": time.Hour, "m": time.Minute, "s": time.Second}[unit]
	if d == time.Hour {
		n = min(max(n, -2000000), 2000000)
	}
	return t.Add(time.Duration(n) * d)
}

func roundTo(t time.Time, unit string, up bool) time.Time {
	y, m, d := t.Date()
	begin := t
	switch unit {
	case "y":
		begin = time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)
	case "M":
		begin = time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	case "w":
		begin = time.Date(y, m, d-(int(t.Weekday())+6)%7, 0, 0, 0, 0, time.UTC)
	case "d":
		begin = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	case "h", "H":
		begin = t.Truncate(time.Hour)
	case "m":
		begin = t.Truncate(time.Minute)
	case "s":
		begin = t.Truncate(time.Second)
	}
	if up {
		return plus(begin, 1, unit).Add(-1)
	}
	return begin
}

func (c *compiler) queryString(body json.RawMessage) (segment.Filter, error) {
	var v struct {
		Query    string
		Default  string   `json:"default_field"`
		Fields   []string `json:"fields"`
		Operator string   `json:"default_operator"`
	}
	if err := parse(body, &v); err != nil {
		return nil, err
	}
	field := v.Default
	if len(v.Fields) == 1 {
		field = v.Fields[0]
	} else if len(v.Fields) > 1 {
		return nil, unsupported("query_string with several fields")
	}
	if field == "*" || field == "_all" {
		field = ""
	}
	f, err := c.lucene(v.Query, field, strings.EqualFold(v.Operator, "and"))
	if err != nil {
		return nil, fmt.Errorf("query_string: %w", err)
	}
	return f, nil
}
