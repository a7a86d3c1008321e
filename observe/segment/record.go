package segment

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Field is a named value of a record.
type Field struct {
	Name, Value string
	// InBody says that the value stands in the body word for word, so that its words need not be indexed a second time.
	InBody bool
}

// Record is what is stored.
type Record struct {
	// Time is the record's instant, in nanoseconds since 1970 in UTC.
	Time int64
	// Seq is the record's number, given by Append: later ones are larger. It tells records of one instant apart.
	Seq uint64
	// Stream says where the record came from.
	Stream *Stream
	// Fields in any order; of two with one name the first counts.
	Fields []Field
	// Body is any bytes.
	Body string
}

// Field returns the value of a label or, if there is no such label, of a field.
func (r *Record) Field(name string) (string, bool) {
	if v, ok := r.Stream.Get(name); ok {
		return v, true
	}
	for i := range r.Fields {
		if r.Fields[i].Name == name {
			return r.Fields[i].Value, true
		}
	}
	return "", false
}

// recordOverhead is what a record costs beside its text, roughly, in memory.
const recordOverhead = 96

func (r *Record) size() int {
	n := recordOverhead + len(r.Body)
	for i := range r.Fields {
		n += 40 + len(r.Fields[i].Value)
	}
	return n
}

// Stream is a set of labels. It does not change; records share it.
type Stream struct {
	labels []Field // by name
	key    string
}

// Bounds on what a record may hold; Append refuses what is beyond.
const (
	MaxBody   = 4 << 20
	MaxLabels = 32
	MaxName   = 256
	MaxFields = 1024
)

var (
	errLabels = errors.New("too many labels, or one with too long a name or value")
	errStream = errors.New("damaged labels")
)

// NewStream returns the stream of the labels. A label without a value is none.
func NewStream(labels map[string]string) *Stream {
	s := &Stream{}
	for name, value := range labels {
		if value != "" {
			s.labels = append(s.labels, Field{Name: name, Value: value})
		}
	}
	slices.SortFunc(s.labels, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	var key []byte
	for _, l := range s.labels {
		key = appendString(appendString(key, l.Name), l.Value)
	}
	s.key = string(key)
	return s
}

// parseStream reads a stream's key.
func parseStream(key string) (*Stream, error) {
	s := &Stream{key: key}
	for rest := key; rest != ""; {
		var l Field
		var ok1, ok2 bool
		l.Name, rest, ok1 = cutString(rest)
		l.Value, rest, ok2 = cutString(rest)
		if !ok1 || !ok2 || len(s.labels) == MaxLabels {
			return nil, errStream
		}
		s.labels = append(s.labels, l)
	}
	return s, nil
}

func (s *Stream) check() error {
	if len(s.labels) > MaxLabels || len(s.key) > 16<<10 {
		return errLabels
	}
	for _, l := range s.labels {
		if len(l.Name) > MaxName {
			return errLabels
		}
	}
	return nil
}

// Get returns a label's value.
func (s *Stream) Get(name string) (string, bool) {
	for i := range s.labels {
		if s.labels[i].Name == name {
			return s.labels[i].Value, true
		}
	}
	return "", false
}

// Labels returns the labels in order of their names.
func (s *Stream) Labels() []Field { return slices.Clone(s.labels) }

// Map returns the labels by name.
func (s *Stream) Map() map[string]string {
	m := make(map[string]string, len(s.labels))
	for _, l := range s.labels {
		m[l.Name] = l.Value
	}
	return m
}

// Equal reports whether both have the same labels.
func (s *Stream) Equal(other *Stream) bool { return s == other || s.key == other.key }

// String is {name="value", ...}.
func (s *Stream) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, l := range s.labels {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.Name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(l.Value))
	}
	b.WriteByte('}')
	return b.String()
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutUint reads a varint from the front of s.
func cutUint(s string) (v uint64, rest string, ok bool) {
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		c := s[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, s[i+1:], i < 9 || c <= 1
		}
	}
	return 0, "", false
}

// cutString reads a string with its length before it.
func cutString(s string) (text, rest string, ok bool) {
	n, rest, ok := cutUint(s)
	if !ok || n > uint64(len(rest)) {
		return "", "", false
	}
	return rest[:n], rest[n:], true
}
