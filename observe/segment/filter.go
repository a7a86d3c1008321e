package segment

import (
	"regexp"
	"strings"
)

// Row is a record as a filter sees it. It is valid only while the filter is called.
type Row interface {
	// Time is the instant in nanoseconds since 1970.
	Time() int64
	// Seq is the record's number.
	Seq() uint64
	Stream() *Stream
	Body() string
	// Field is the value of a label or, if there is no such label, of a field.
	Field(name string) (string, bool)
	// Fields gives each field, but no label, until yield returns false.
	Fields(yield func(name, value string) bool)
	// Record returns a copy in memory of its own.
	Record() Record
}

// verdict of a filter on all records of a stream.
type verdict int

const (
	perhaps verdict = iota
	never
	always
)

// Filter says which records a search is after. Filters are made by the functions below, and are safe for concurrent use.
type Filter interface {
	// match says whether a record is wanted.
	match(Row) bool
	// stream says what is known from the labels alone.
	stream(*Stream) verdict
	// block says whether a block may have a wanted record; has says whether it may have the word of a hash.
	block(has func(hash uint64) bool) bool
	// hashes gives the hashes that block will ask for.
	hashes(add func(uint64))
}

// plain is the part of a filter that knows nothing in advance.
type plain struct{}

func (plain) stream(*Stream) verdict       { return perhaps }
func (plain) block(func(uint64) bool) bool { return true }
func (plain) hashes(func(uint64))          {}

type everything struct{ plain }

func (everything) match(Row) bool         { return true }
func (everything) stream(*Stream) verdict { return always }

// All wants every record.
func All() Filter { return everything{} }

type and []Filter

// And wants what all of the filters want; with none, everything.
func And(filters ...Filter) Filter {
	if len(filters) == 1 {
		return filters[0]
	}
	return and(filters)
}

func (f and) match(r Row) bool {
	for _, g := range f {
		if !g.match(r) {
			return false
		}
	}
	return true
}

func (f and) stream(s *Stream) verdict {
	v := always
	for _, g := range f {
		switch g.stream(s) {
		case never:
			return never
		case perhaps:
			v = perhaps
		}
	}
	return v
}

func (f and) block(has func(uint64) bool) bool {
	for _, g := range f {
		if !g.block(has) {
			return false
		}
	}
	return true
}

func (f and) hashes(add func(uint64)) {
	for _, g := range f {
		g.hashes(add)
	}
}

type or []Filter

// Or wants what any of the filters wants; with none, nothing.
func Or(filters ...Filter) Filter {
	if len(filters) == 1 {
		return filters[0]
	}
	return or(filters)
}

func (f or) match(r Row) bool {
	for _, g := range f {
		if g.match(r) {
			return true
		}
	}
	return false
}

func (f or) stream(s *Stream) verdict {
	v := never
	for _, g := range f {
		switch g.stream(s) {
		case always:
			return always
		case perhaps:
			v = perhaps
		}
	}
	return v
}

func (f or) block(has func(uint64) bool) bool {
	for _, g := range f {
		if g.block(has) {
			return true
		}
	}
	return false
}

func (f or) hashes(add func(uint64)) { and(f).hashes(add) }

type not struct {
	plain
	f Filter
}

// Not wants what the filter does not want.
func Not(f Filter) Filter { return not{f: f} }

func (f not) match(r Row) bool { return !f.f.match(r) }

func (f not) stream(s *Stream) verdict {
	switch f.f.stream(s) {
	case never:
		return always
	case always:
		return never
	}
	return perhaps
}

// words are looked for in the body (name "") or in a field.
type words struct {
	name   string
	words  []string
	sums   []uint64
	prefix bool
}

func newWords(name, text string, prefix bool) Filter {
	w := words{name: name, words: Words(text), prefix: prefix}
	if len(w.words) == 0 { // of separators alone
		if name == "" {
			return Contains(text)
		}
		return FieldFunc(name, func(v string) bool { return strings.Contains(v, text) })
	}
	whole := w.words
	if prefix {
		whole = whole[:len(whole)-1]
	}
	for _, word := range whole {
		w.sums = append(w.sums, hashWord(word))
	}
	return w
}

// Phrase wants records in whose body the words of text stand one after the other, whatever is between them but words.
// A text of one word is that word.
func Phrase(text string) Filter { return newWords("", text, false) }

// Prefix is Phrase, but the last word may go on.
func Prefix(text string) Filter { return newWords("", text, true) }

// FieldPhrase and FieldPrefix look at a field or label.
func FieldPhrase(name, text string) Filter { return newWords(name, text, false) }

// FieldPrefix is FieldPhrase, but the last word may go on.
func FieldPrefix(name, text string) Filter { return newWords(name, text, true) }

func (f words) match(r Row) bool {
	if f.name == "" {
		return hasWords(r.Body(), f.words, f.prefix)
	}
	v, ok := r.Field(f.name)
	return ok && hasWords(v, f.words, f.prefix)
}

func (f words) stream(s *Stream) verdict {
	return ofLabel(s, f.name, func(v string) bool { return hasWords(v, f.words, f.prefix) })
}

func (f words) block(has func(uint64) bool) bool { return hasAll(has, f.sums) }
func (f words) hashes(add func(uint64))          { addAll(add, f.sums) }

func hasAll(has func(uint64) bool, sums []uint64) bool {
	for _, h := range sums {
		if !has(h) {
			return false
		}
	}
	return true
}

func addAll(add func(uint64), sums []uint64) {
	for _, h := range sums {
		add(h)
	}
}

// ofLabel decides by a label; where the stream has none of the name, a field may.
func ofLabel(s *Stream, name string, match func(string) bool) verdict {
	v, ok := s.Get(name)
	switch {
	case !ok || name == "":
		return perhaps
	case match(v):
		return always
	}
	return never
}

type contains struct {
	plain
	text string
	sums []uint64
}

// Contains wants records whose body has the text in it, byte for byte.
func Contains(text string) Filter {
	c := contains{text: text}
	// Words with something else on both sides must stand in the body as words.
	inner := Words(text)
	if len(text) > 0 && len(inner) > 0 {
		if wordByte[text[0]] != 0 {
			inner = inner[1:]
		}
		if n := len(inner); n > 0 && wordByte[text[len(text)-1]] != 0 {
			inner = inner[:n-1]
		}
	}
	for _, w := range inner {
		c.sums = append(c.sums, hashWord(w))
	}
	return c
}

func (f contains) match(r Row) bool                 { return strings.Contains(r.Body(), f.text) }
func (f contains) block(has func(uint64) bool) bool { return hasAll(has, f.sums) }
func (f contains) hashes(add func(uint64))          { addAll(add, f.sums) }

type bodyFunc struct {
	plain
	f func(string) bool
}

// BodyFunc wants records of whose body f is true.
func BodyFunc(f func(body string) bool) Filter { return bodyFunc{f: f} }

// Matches wants records whose body the expression matches anywhere.
func Matches(re *regexp.Regexp) Filter { return bodyFunc{f: re.MatchString} }

func (f bodyFunc) match(r Row) bool { return f.f(r.Body()) }

type equals struct {
	name, value string
	sums        []uint64
}

// Equals wants records whose field or label has the value exactly.
func Equals(name, value string) Filter {
	f := equals{name: name, value: value}
	for _, w := range Words(value) {
		f.sums = append(f.sums, hashWord(w))
	}
	return f
}

func (f equals) match(r Row) bool {
	v, ok := r.Field(f.name)
	return ok && v == f.value
}

func (f equals) stream(s *Stream) verdict {
	return ofLabel(s, f.name, func(v string) bool { return v == f.value })
}

// block is asked only of records whose stream has not decided, so the value would be a field's.
func (f equals) block(has func(uint64) bool) bool { return hasAll(has, f.sums) }
func (f equals) hashes(add func(uint64))          { addAll(add, f.sums) }

type fieldFunc struct {
	plain
	name string
	f    func(string) bool
}

// FieldFunc wants records that have the field or label, and of whose value f is true.
func FieldFunc(name string, f func(value string) bool) Filter { return fieldFunc{name: name, f: f} }

// Has wants records that have the field or label.
func Has(name string) Filter { return FieldFunc(name, func(string) bool { return true }) }

func (f fieldFunc) match(r Row) bool {
	v, ok := r.Field(f.name)
	return ok && f.f(v)
}

func (f fieldFunc) stream(s *Stream) verdict { return ofLabel(s, f.name, f.f) }

type label struct {
	plain
	name string
	f    func(string) bool
}

// Label wants records of streams of whose label f is true; a label that is not there is "".
func Label(name string, f func(value string) bool) Filter { return label{name: name, f: f} }

func (f label) match(r Row) bool { return f.stream(r.Stream()) == always }

func (f label) stream(s *Stream) verdict {
	if v, _ := s.Get(f.name); f.f(v) {
		return always
	}
	return never
}

type rowFunc struct {
	plain
	f func(Row) bool
}

// RowFunc wants records of which f is true. It is called by several goroutines at once.
func RowFunc(f func(Row) bool) Filter { return rowFunc{f: f} }

func (f rowFunc) match(r Row) bool { return f.f(r) }

// Match reports whether f wants the record.
func Match(f Filter, r *Record) bool { return f.match(recordRow{r}) }

// recordRow is a record of the head.
type recordRow struct{ r *Record }

func (r recordRow) Time() int64                   { return r.r.Time }
func (r recordRow) Seq() uint64                   { return r.r.Seq }
func (r recordRow) Stream() *Stream               { return r.r.Stream }
func (r recordRow) Body() string                  { return r.r.Body }
func (r recordRow) Field(n string) (string, bool) { return r.r.Field(n) }

func (r recordRow) Fields(yield func(name, value string) bool) {
	for i := range r.r.Fields {
		if !yield(r.r.Fields[i].Name, r.r.Fields[i].Value) {
			return
		}
	}
}

func (r recordRow) Record() Record {
	out := *r.r
	out.Body = strings.Clone(out.Body)
	out.Fields = make([]Field, len(r.r.Fields))
	for i, f := range r.r.Fields {
		out.Fields[i] = Field{strings.Clone(f.Name), strings.Clone(f.Value), f.InBody}
	}
	return out
}

// Wants reports whether f wants a row that a search gave.
func Wants(f Filter, r Row) bool { return f.match(r) }

// RowOf is the record as a filter sees it.
func RowOf(r *Record) Row { return recordRow{r} }
