package broker

import (
	"encoding/binary"
	"fmt"
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
