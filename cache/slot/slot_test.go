package slot

import "testing"

func TestOf(t *testing.T) {
	for key, want := range map[string]uint16{
		"123456789":            0x31c3, // the check value of CRC16/XMODEM
		"":                     0,
		"foo":                  12182,
		"{user1000}.following": Of([]byte("user1000")), "{user1000}.followers": Of([]byte("user1000")),
		"foo{bar}{zap}": Of([]byte("bar")), "foo{{bar}}zap": Of([]byte("{bar")),
	} {
		if got := Of([]byte(key)); got != want {
			t.Errorf("slot of %q: %d, want %d", key, got, want)
		}
	}
	if Of([]byte("foo{}{bar}")) == Of([]byte("bar")) {
		t.Error("an empty hash tag counts")
	}
}
