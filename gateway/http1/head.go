package http1

import "bytes"

// Head is what requests and answers have in common. Its slices point into the bytes that were parsed.
type Head struct {
	// Minor version of HTTP/1; those above 1 count as 1.
	Minor int
	// Fields in their order.
	Fields []Field
	// Length is the Content-Length, -1 where there is none.
	Length int64
	// Chunked says that the body comes in chunks.
	Chunked bool
	// Close and KeepAlive are what Connection asks for.
	Close, KeepAlive bool
	// Nominates says that Connection names other things than close and keep-alive.
	Nominates bool
	// Has has a bit for each known field that is there.
	Has uint32

	host  []byte
	hosts int
}

// HasField reports whether the head has a known field.
func (h *Head) HasField(k Known) bool { return h.Has&(1<<k) != 0 }

// Nominated reports whether Connection names a field, which then concerns this connection only (RFC 9110, 7.6.1).
func (h *Head) Nominated(name []byte) (yes bool) {
	for i := range h.Fields {
		if h.Fields[i].Known != Connection {
			continue
		}
		Tokens(h.Fields[i].Value, func(token []byte) bool {
			yes = len(token) == len(name) && bytes.EqualFold(token, name)
			return !yes
		})
		if yes {
			return true
		}
	}
	return false
}

// Request is the head of a request.
type Request struct {
	Head
	Method, Target []byte
	// Host is the value of the Host field; nil where HTTP/1.0 does without.
	Host []byte
}

// Response is the head of an answer.
type Response struct {
	Head
	Status int
}

// Whole reports whether b may hold a whole head, or something that is none: only then parsing it again is worth
// while. What was looked at before, up to seen, is not looked at once more.
func Whole(b []byte, seen int) bool {
	for i := max(0, seen-3); i < len(b); {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return false
		}
		i += j
		if i == 0 || b[i-1] != '\r' {
			return true // a line that cannot be
		}
		if i >= 3 && b[i-2] == '\n' {
			return true
		}
		i++
	}
	return false
}

// Parse reads the head at the start of b. It returns how long it is; 0 with no error where its end has not come yet.
// One empty line before it is skipped (RFC 9112, 2.2).
func (r *Request) Parse(b []byte) (n int, err *Error) {
	r.Head = Head{Fields: r.Fields[:0], Length: -1}
	skip := 0
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		skip = 2
	}
	line, rest, err := cutLine(b[skip:])
	if line == nil {
		return 0, err
	}
	if err := r.requestLine(line); err != nil {
		return 0, err
	}
	if rest, err = r.fields(rest); rest == nil {
		return 0, err
	}
	if r.Host = r.host; r.hosts > 1 || r.hosts == 0 && r.Minor > 0 || !all(r.Host, isHost) {
		return 0, ErrHost
	}
	switch {
	case r.HasField(TransferEncoding) && r.Length >= 0:
		return 0, ErrFraming
	case r.HasField(TransferEncoding) && r.Minor == 0:
		return 0, ErrFraming // RFC 9112, 6.1
	}
	return len(b) - len(rest), nil
}

func (r *Request) requestLine(line []byte) *Error {
	i := bytes.IndexByte(line, ' ')
	if i <= 0 || !all(line[:i], isToken) {
		return ErrRequestLine
	}
	r.Method = line[:i]
	line = line[i+1:]
	i = bytes.IndexByte(line, ' ')
	if i <= 0 || !all(line[:i], isTarget) {
		return ErrRequestLine
	}
	r.Target = line[:i]
	return r.version(line[i+1:], ErrRequestLine)
}

func (h *Head) version(v []byte, malformed *Error) *Error {
	if len(v) != len("HTTP/1.1") || string(v[:5]) != "HTTP/" || v[6] != '.' || !digit(v[5]) || !digit(v[7]) {
		return malformed
	}
	if v[5] != '1' {
		return ErrVersion
	}
	h.Minor = min(int(v[7]-'0'), 1)
	return nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// Parse reads the head at the start of b. It returns how long it is; 0 with no error where its end has not come yet.
func (r *Response) Parse(b []byte) (n int, err *Error) {
	r.Head = Head{Fields: r.Fields[:0], Length: -1}
	line, rest, err := cutLine(b)
	if line == nil {
		return 0, err
	}
	// HTTP/1.1 200 and a phrase; the space before an empty phrase may be missing.
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' || !all(line, isValue) {
		return 0, ErrStatusLine
	}
	if err := r.version(line[:8], ErrStatusLine); err != nil {
		return 0, err
	}
	status, ok := number(line[9:12])
	if !ok || status < 100 {
		return 0, ErrStatusLine
	}
	r.Status = int(status)
	if rest, err = r.fields(rest); rest == nil {
		return 0, err
	}
	if r.HasField(TransferEncoding) && (r.Length >= 0 || r.Minor == 0) {
		return 0, ErrFraming
	}
	return len(b) - len(rest), nil
}

// cutLine returns the first line of b without its end, and what follows; a nil line where its end has not come.
func cutLine(b []byte) (line, rest []byte, err *Error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, nil, nil
	}
	if i == 0 || b[i-1] != '\r' {
		return nil, nil, ErrLine
	}
	return b[:i-1], b[i+1:], nil
}

// fields reads fields up to the empty line, and returns what follows it; nil where that has not come, or with an error.
func (h *Head) fields(b []byte) (rest []byte, err *Error) {
	for {
		line, next, err := cutLine(b)
		if line == nil {
			return nil, err
		}
		if len(line) == 0 {
			return next, nil
		}
		if len(h.Fields) == MaxFields {
			return nil, ErrFields
		}
		f, err := parseField(line)
		if err != nil {
			return nil, err
		}
		h.Has |= 1 << f.Known
		switch f.Known {
		case ContentLength:
			n, ok := number(f.Value)
			if !ok || h.Length >= 0 {
				return nil, ErrLength
			}
			h.Length = n
		case TransferEncoding:
			if h.Chunked || !EqualFold(f.Value, "chunked") {
				return nil, ErrCoding
			}
			h.Chunked = true
		case Connection:
			h.connection(f.Value)
		case Host:
			h.host = f.Value
			h.hosts++
		}
		h.Fields = append(h.Fields, f)
		b = next
	}
}

func (h *Head) connection(value []byte) {
	switch {
	case EqualFold(value, "keep-alive"):
		h.KeepAlive = true
		return
	case EqualFold(value, "close"):
		h.Close = true
		return
	}
	Tokens(value, func(token []byte) bool {
		switch {
		case EqualFold(token, "close"):
			h.Close = true
		case EqualFold(token, "keep-alive"):
			h.KeepAlive = true
		default:
			h.Nominates = true
		}
		return true
	})
}

func parseField(line []byte) (f Field, err *Error) {
	i := 0
	for i < len(line) && classes[line[i]]&isToken != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		if line[0] == ' ' || line[0] == '\t' {
			return f, ErrFold
		}
		return f, ErrField
	}
	f.Name = line[:i]
	f.Value = trim(line[i+1:])
	if !all(f.Value, isValue) {
		return f, ErrField
	}
	f.Known = known(f.Name)
	return f, nil
}
