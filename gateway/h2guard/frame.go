package h2guard

import "encoding/binary"

// The kinds of frames (RFC 9113, 6).
const (
	kindData         = 0x0
	kindHeaders      = 0x1
	kindPriority     = 0x2
	kindReset        = 0x3
	kindSettings     = 0x4
	kindPing         = 0x6
	kindGoAway       = 0x7
	kindWindowUpdate = 0x8
	kindContinuation = 0x9
)

// Their flags.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// The codes of errors that are looked at (7).
const (
	codeProtocol     = 0x1
	codeFlowControl  = 0x3
	codeStreamClosed = 0x5
	codeFrameSize    = 0x6
	codeRefused      = 0x7
	codeCalm         = 0xb
)

const (
	frameHead = 9
	// maxFrame is the largest payload that the server takes (SETTINGS_MAX_FRAME_SIZE's first value).
	maxFrame = 16 << 10
)

// frame is the head of a frame (4.1).
type frame struct {
	length int
	kind   byte
	flags  byte
	stream uint32
}

func parseFrame(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
	}
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

func (f frame) append(b []byte) []byte {
	b = append(b, byte(f.length>>16), byte(f.length>>8), byte(f.length), f.kind, f.flags)
	return binary.BigEndian.AppendUint32(b, f.stream)
}
