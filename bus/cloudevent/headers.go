// Package cloudevent knows how headers have the attributes of CloudEvents: in HTTP and NATS as ce-NAME, with the characters encoded that HTTP
// does not take; and what the attributes of an event are, whichever way it has them.
package cloudevent

import (
	"encoding/json"
	"mime"
	"strings"

	"github.com/banyanhq/banyan/bus/broker"
)

// Prefix of a header that has an attribute.
const Prefix = "ce-"

// Structured is the media type of an event that has its attributes in its body, as JSON.
const Structured = "application/cloudevents+json"

const hexDigits = "0123456789ABCDEF"

// Encode writes an attribute's value as that of a header.
func Encode(s string) string {
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			out.WriteByte(c)
		} else {
			out.WriteByte('%')
			out.WriteByte(hexDigits[c>>4])
			out.WriteByte(hexDigits[c&15])
		}
	}
	return out.String()
}

// Decode reads an attribute's value from that of a header. A percent sign that does not begin two hexadecimal digits stands for itself.
func Decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := strings.IndexByte(hexDigits, upper(s[i+1])), strings.IndexByte(hexDigits, upper(s[i+2]))
			if high >= 0 && low >= 0 {
				out.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// Attributes looks up attributes of an event, by name. What is no CloudEvent has none.
func Attributes(headers []broker.Header, body []byte) func(name string) (value string, ok bool) {
	contentType, binary := "", map[string]string{}
	for _, h := range headers {
		name := strings.ToLower(h.Name)
		if name == "content-type" {
			contentType = h.Value
		}
		if attribute, ok := strings.CutPrefix(name, Prefix); ok {
			binary[attribute] = Decode(h.Value)
		}
	}
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == Structured {
		return structured(body)
	}
	if _, is := binary["specversion"]; is && contentType != "" {
		binary["datacontenttype"] = contentType
	}
	return func(name string) (string, bool) {
		value, ok := binary[name]
		return value, ok
	}
}

// structured looks up attributes in a body: texts, and numbers and truth values as JSON has them.
func structured(body []byte) func(name string) (string, bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil {
		all = nil
	}
	return func(name string) (string, bool) {
		raw := all[name]
		if len(raw) == 0 || name == "data" || strings.ContainsRune("{[n", rune(raw[0])) {
			return "", false
		}
		if raw[0] != '"' {
			return string(raw), true
		}
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err == nil
	}
}
