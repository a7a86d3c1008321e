package broker

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Header of a message.
type Header struct{ Name, Value string }

// appendContent writes headers and body as they are stored.
func appendContent(dst []byte, headers []Header, body []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		dst = appendString(appendString(dst, h.Name), h.Value)
	}
	return append(dst, body...)
}

// contentBytes is how long the content of a message is.
func contentBytes(m *Message) int {
	n := uvarintBytes(len(m.Headers)) + len(m.Body)
	for _, h := range m.Headers {
		n += uvarintBytes(len(h.Name)) + len(h.Name) + uvarintBytes(len(h.Value)) + len(h.Value)
	}
	return n
}

func uvarintBytes(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

// readContent is the reverse. The body points into p.
func readContent(p []byte) (headers []Header, body []byte, err error) {
	r := reader{p: p}
	for n := r.length(); n > 0 && r.err == nil; n-- {
		headers = append(headers, Header{r.string(), r.string()})
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("reading a stored message: %w", r.err)
	}
	return headers, p[r.at:], nil
}
