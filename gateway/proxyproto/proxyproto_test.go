package proxyproto

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	for _, c := range []struct {
		name, in, source string
		bad              bool
	}{
		{"v1", "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n", "192.0.2.1:1000", false},
		{"v1 six", "PROXY TCP6 2001:db8::1 2001:db8::2 1000 80\r\n", "[2001:db8::1]:1000", false},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "invalid AddrPort", false},
		{"v1 unknown with more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "invalid AddrPort", false},
		{"v1 leading zero", "PROXY TCP4 192.0.2.1 192.0.2.2 01000 80\r\n", "", true},
		{"v1 port", "PROXY TCP4 192.0.2.1 192.0.2.2 70000 80\r\n", "", true},
		{"v1 family", "PROXY TCP6 192.0.2.1 192.0.2.2 1000 80\r\n", "", true},
		{"v1 two spaces", "PROXY TCP4  192.0.2.1 192.0.2.2 1000 80\r\n", "", true},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1000 80\r\n", "", true},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", "", true},
		{"v1 no carriage return", "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\n", "", true},
		{"http", "GET / HTTP/1.1\r\n\r\n", "", true},
		{"v2", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x50", "192.0.2.1:1000", false},
		{"v2 with extension", v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x50\x04\x00\x01x", "192.0.2.1:1000", false},
		{"v2 broken extension", v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x50\x04\x00\x02x", "", true},
		{"v2 local", v2 + "\x20\x00\x00\x00", "invalid AddrPort", false},
		{"v2 command", v2 + "\x22\x11\x00\x00", "", true},
		{"v2 version", v2 + "\x31\x11\x00\x00", "", true},
		{"v2 short", v2 + "\x21\x11\x00\x04\xc0\x00\x02\x01", "", true},
		{"v2 udp", v2 + "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x50", "", true},
		{"v2 huge", v2 + "\x21\x11\xff\xff", "", true},
		{"empty", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := strings.NewReader(c.in + "rest of it")
			if c.name == "empty" {
				r = strings.NewReader("")
			}
			h, err := Read(r)
			if c.bad {
				if err == nil {
					t.Fatalf("read as %v", h)
				}
				return
			}
			if err != nil || h.Source.String() != c.source {
				t.Fatalf("source %v, error %v, want %s", h.Source, err, c.source)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "rest of it" {
				t.Errorf("left %q", rest)
			}
		})
	}
}

// FuzzRead looks for panics, for headers that are longer than they may be, and for such that do not come back.
func FuzzRead(f *testing.F) {
	h := Header{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")}
	f.Add(h.AppendV1(nil))
	f.Add(h.AppendV2(nil))
	f.Add(Header{}.AppendV1(nil))
	f.Add(Header{netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("192.0.2.2:2")}.AppendV2(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		for _, out := range [][]byte{h.AppendV1(nil), h.AppendV2(nil)} {
			again, err := Read(bytes.NewReader(out))
			if err != nil {
				t.Fatalf("%v as %q: %v", h, out, err)
			}
			if unmapped(again.Source) != unmapped(h.Source) || unmapped(again.Destination) != unmapped(h.Destination) {
				t.Fatalf("%v came back as %v", h, again)
			}
		}
	})
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
