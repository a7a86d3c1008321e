// Package slot says which hash slot a key belongs to, as Redis Cluster's specification does: CRC16 of the key, or of what is
// between its first { and the next }, if that is not empty, modulo 16,384.
package slot

import "bytes"

// Count is how many slots there are.
const Count = 16384

// table is that of CRC16/XMODEM: polynomial 0x1021, begun with 0, not reflected.
var table = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()

// Of is the slot of a key.
func Of(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	crc := uint16(0)
	for _, b := range key {
		crc = crc<<8 ^ table[byte(crc>>8)^b]
	}
	return crc % Count
}
