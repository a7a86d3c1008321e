package h2guard

import "encoding/binary"

const (
	settingSize = 6
	// costOfSettings is what a SETTINGS frame counts for: the server changes the window of each stream, and answers.
	costOfSettings = 5
	// maxSettings in one frame; the server ends connections that send more.
	maxSettings = 100
)

// The settings that are looked at (RFC 9113, 6.5.2).
const (
	settingHeaderTable = 0x1
	settingPush        = 0x2
	settingWindow      = 0x4
	settingFrame       = 0x5
)

// settings looks at a SETTINGS frame, all of which is in b.
func (c *Conn) settings(f frame, b []byte) error {
	if !f.has(flagAck) && c.countControl(costOfSettings) {
		c.endFor(Control)
		return nil
	}
	if n := f.length / settingSize; f.has(flagAck) || f.stream != 0 || f.length%settingSize != 0 || n < 2 || n > maxSettings {
		c.accept(len(b))
		return nil
	}
	once, ok := eachOnce(b[frameHead:])
	if !ok || len(once) == f.length {
		c.accept(len(b))
		return nil
	}
	f.length = len(once)
	c.replace(len(b), append(f.append(make([]byte, 0, frameHead+len(once))), once...))
	return nil
}

// eachOnce returns settings as they are once all have been processed in their order (6.5.3), each given once. Go's server
// takes a setting given twice for an attack. It returns false where one of them is an error, for the server to find.
//
// Of the sizes of the header table the smallest is what counts: an encoder must empty its table down to that, and may go
// on with no more (RFC 7541, 4.2).
func eachOnce(p []byte) (once []byte, ok bool) {
	for ; len(p) > 0; p = p[settingSize:] {
		id, value := binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])
		if id == settingPush && value > 1 || id == settingWindow && value > 1<<31-1 || id == settingFrame && (value < 16<<10 || value > 1<<24-1) {
			return nil, false
		}
		at := 0
		for at < len(once) && binary.BigEndian.Uint16(once[at:]) != id {
			at += settingSize
		}
		if at == len(once) {
			once = append(once, p[:settingSize]...)
			continue
		}
		if id == settingHeaderTable {
			value = min(value, binary.BigEndian.Uint32(once[at+2:]))
		}
		binary.BigEndian.PutUint32(once[at+2:], value)
	}
	return once, true
}
