// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 and 2 (HAProxy, The PROXY protocol,
// 2020), by which a proxy tells the server behind it whose connection it passes on.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Header is what a connection begins with.
type Header struct {
	// Source is the client, Destination the address that it connected to. Both are invalid where the proxy says nothing:
	// a connection of its own (LOCAL), or one of an unknown kind. The addresses of the connection itself count then.
	Source, Destination netip.AddrPort
}

var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

const (
	maxV1 = 107 // bytes of a header of version 1, its end of line included (2.1)
	// maxV2 bounds what follows the fixed part of version 2: the addresses and the extensions (TLVs), which are skipped.
	maxV2 = 4096
)

var errHeader = errors.New("proxyproto: the connection does not begin with a valid header of the PROXY protocol")

// Read reads a header, of whichever version, and not one byte beyond it.
func Read(r io.Reader) (Header, error) {
	var start [16]byte
	// The shortest header of version 1 has 15 bytes: "PROXY UNKNOWN\r\n".
	if _, err := io.ReadFull(r, start[:12]); err != nil {
		return Header{}, fmt.Errorf("proxyproto: reading the header: %w", err)
	}
	if bytes.Equal(start[:12], signature) {
		if _, err := io.ReadFull(r, start[12:]); err != nil {
			return Header{}, fmt.Errorf("proxyproto: reading the header: %w", err)
		}
		return readV2(r, start)
	}
	if !bytes.HasPrefix(start[:], []byte("PROXY ")) {
		return Header{}, errHeader
	}
	return readV1(r, start[:12])
}

func readV1(r io.Reader, start []byte) (Header, error) {
	line := make([]byte, len(start), maxV1)
	copy(line, start)
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxV1 {
			return Header{}, errHeader
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return Header{}, fmt.Errorf("proxyproto: reading the header: %w", err)
		}
	}
	text := string(line[:len(line)-2])
	if text == "PROXY UNKNOWN" || strings.HasPrefix(text, "PROXY UNKNOWN ") {
		return Header{}, nil
	}
	parts := strings.Split(text, " ")
	if len(parts) != 6 || parts[1] != "TCP4" && parts[1] != "TCP6" {
		return Header{}, errHeader
	}
	source, ok := endpoint(parts[2], parts[4], parts[1] == "TCP4")
	destination, ok2 := endpoint(parts[3], parts[5], parts[1] == "TCP4")
	if !ok || !ok2 {
		return Header{}, errHeader
	}
	return Header{source, destination}, nil
}

func endpoint(host, port string, v4 bool) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(host)
	n, err2 := strconv.ParseUint(port, 10, 16)
	if err != nil || err2 != nil || addr.Is4() != v4 || addr.Zone() != "" || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(n)), true
}

func readV2(r io.Reader, fixed [16]byte) (Header, error) {
	length := int(binary.BigEndian.Uint16(fixed[14:]))
	if fixed[12]>>4 != 2 || fixed[12]&0xf > 1 || length > maxV2 {
		return Header{}, errHeader
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Header{}, fmt.Errorf("proxyproto: reading the header: %w", err)
	}
	local := fixed[12]&0xf == 0
	size := 0
	switch family := fixed[13]; {
	case local || family == 0 || family>>4 == 3: // nothing is said, or addresses that are no internet ones
		return Header{}, nil
	case family == 0x11:
		size = 4
	case family == 0x21:
		size = 16
	default:
		return Header{}, errHeader
	}
	if len(rest) < 2*size+4 || !validTLVs(rest[2*size+4:]) {
		return Header{}, errHeader
	}
	source, _ := netip.AddrFromSlice(rest[:size])
	destination, _ := netip.AddrFromSlice(rest[size : 2*size])
	ports := rest[2*size:]
	return Header{
		netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(destination, binary.BigEndian.Uint16(ports[2:])),
	}, nil
}

// validTLVs reports whether extensions end where the header does (2.2.1).
func validTLVs(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 3 {
			return false
		}
		n := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// AppendV1 appends the header as version 1 writes it.
func (h Header) AppendV1(b []byte) []byte {
	s, d, family := h.pair()
	if family == 0 {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	kind := "TCP4"
	if family == 0x21 {
		kind = "TCP6"
	}
	return fmt.Appendf(b, "PROXY %s %s %s %d %d\r\n", kind, s.Addr(), d.Addr(), s.Port(), d.Port())
}

// AppendV2 appends the header as version 2 writes it.
func (h Header) AppendV2(b []byte) []byte {
	s, d, family := h.pair()
	b = append(b, signature...)
	if family == 0 {
		return append(b, 0x20, 0, 0, 0)
	}
	b = append(b, 0x21, family)
	source, destination := s.Addr().AsSlice(), d.Addr().AsSlice()
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(source)+4))
	b = append(append(b, source...), destination...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, s.Port()), d.Port())
}

// pair returns both addresses in the same family, as its number in version 2; 0 where there are none.
func (h Header) pair() (s, d netip.AddrPort, family byte) {
	if !h.Source.IsValid() || !h.Destination.IsValid() {
		return s, d, 0
	}
	a, b := h.Source.Addr().Unmap().WithZone(""), h.Destination.Addr().Unmap().WithZone("")
	family = 0x11
	if !a.Is4() || !b.Is4() {
		a, b, family = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16()), 0x21
	}
	return netip.AddrPortFrom(a, h.Source.Port()), netip.AddrPortFrom(b, h.Destination.Port()), family
}
