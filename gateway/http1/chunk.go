package http1

import "bytes"

const (
	// maxChunkLine bounds the line with a chunk's size and extensions, which are dropped.
	maxChunkLine = 256
	// maxOverhead bounds what a body may consist of besides its data, beyond a share of that: many tiny chunks with
	// long extensions are an attack.
	maxOverhead = 16 << 10
	// MaxTrailer bounds the fields after a body in bytes.
	MaxTrailer = 16 << 10
)

// Chunks reads a body in chunks (RFC 9112, 7.1). The zero value stands before the first chunk.
type Chunks struct {
	left   int64 // of the current chunk
	excess int64 // bytes besides data, less what the data excuses
	state  chunkState
}

type chunkState uint8

const (
	atSize chunkState = iota
	inData
	atDataEnd
	atTrailer
	atEnd
)

// Done reports whether the last chunk and the trailer have been read.
func (c *Chunks) Done() bool { return c.state == atEnd }

// Next reads on in b: it returns how many bytes it has consumed, and the data among them, at most one piece. Where
// nothing is consumed, more bytes are needed first, or the body is done. Trailer gets the fields after the body; it may
// be nil.
func (c *Chunks) Next(b []byte, trailer *Head) (n int, data []byte, err *Error) {
	for n < len(b) && c.state != atEnd {
		rest := b[n:]
		switch c.state {
		case atSize:
			i := bytes.IndexByte(rest[:min(len(rest), maxChunkLine)], '\n')
			if i < 0 {
				if len(rest) >= maxChunkLine {
					return n, nil, ErrChunk
				}
				return n, nil, nil
			}
			size, ok := chunkSize(rest[:i])
			if !ok {
				return n, nil, ErrChunk
			}
			n += i + 1
			// Sixteen bytes of data excuse one of overhead; each chunk has at least five for nothing.
			c.excess = max(0, c.excess+int64(i+1)-16-size/16)
			if c.excess > maxOverhead {
				return n, nil, ErrChunk
			}
			c.left, c.state = size, inData
			if size == 0 {
				c.state = atTrailer
			}
		case inData:
			data = rest[:min(c.left, int64(len(rest)))]
			n += len(data)
			if c.left -= int64(len(data)); c.left == 0 {
				c.state = atDataEnd
				if len(b)-n >= 2 {
					if b[n] != '\r' || b[n+1] != '\n' {
						return n, nil, ErrChunk
					}
					n += 2
					c.state = atSize
				}
			}
			return n, data, nil
		case atDataEnd:
			if rest[0] != '\r' {
				return n, nil, ErrChunk
			}
			if len(rest) < 2 {
				return n, nil, nil
			}
			if rest[1] != '\n' {
				return n, nil, ErrChunk
			}
			n += 2
			c.state = atSize
		case atTrailer:
			used, err := c.readTrailer(rest, trailer)
			if err != nil || used == 0 {
				return n, nil, err
			}
			n += used
			c.state = atEnd
		}
	}
	return n, nil, nil
}

// readTrailer reads the fields after the last chunk.
func (c *Chunks) readTrailer(b []byte, trailer *Head) (int, *Error) {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return 2, nil
	}
	var own Head
	if trailer == nil {
		trailer = &own
	}
	*trailer = Head{Fields: trailer.Fields[:0], Length: -1}
	rest, err := trailer.fields(b)
	if err != nil {
		return 0, err
	}
	for _, f := range trailer.Fields {
		switch f.Known {
		case ContentLength, TransferEncoding, Host, Trailer, Connection:
			return 0, ErrField // RFC 9110, 6.5.1: nothing that frames or routes
		}
	}
	if rest == nil {
		if len(b) > MaxTrailer {
			return 0, ErrTooLarge
		}
		return 0, nil
	}
	return len(b) - len(rest), nil
}

// chunkSize reads the size in a line that ends with CR, and checks the extensions after it.
func chunkSize(line []byte) (size int64, ok bool) {
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return 0, false
	}
	line = line[:len(line)-1]
	digits := 0
	for digits < len(line) {
		d, ok := hexDigit(line[digits])
		if !ok {
			break
		}
		if size >= 1<<58 {
			return 0, false
		}
		size = size<<4 | int64(d)
		digits++
	}
	if digits == 0 || digits > 16 {
		return 0, false
	}
	ext := line[digits:]
	if len(ext) == 0 {
		return size, true
	}
	// Space before the semicolon is bad but allowed to be taken (RFC 9112, 7.1.1); after the size alone it is not.
	if ext = trim(ext); len(ext) == 0 || ext[0] != ';' || !all(ext, isValue) {
		return 0, false
	}
	return size, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
