package kafka

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is given out, settled, refused and forgotten in whatever order: the offset never passes an event that is not settled, of the
// events with one key one is given out at a time and in their order, and all are settled in the end.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWindow()
		now := time.Unix(0, 0)
		next := rapid.Int64Range(0, 100).Draw(t, "first")
		settled, keys, last := map[int64]bool{}, map[int64]string{}, map[string]int64{}
		var out []*entry
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				next += rapid.Int64Range(0, 2).Draw(t, "gap")
				e := Event{Offset: next}
				if key := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key"); key != "" {
					e.Key, keys[next] = []byte(key), key
				}
				settled[next] = false
				w.add(e)
				next++
			case 1:
				got, _ := w.take(now, rapid.IntRange(1, 5).Draw(t, "most"), time.Minute)
				for _, e := range got {
					out = append(out, &entry{Event: e.Event, attempt: e.attempt})
				}
			case 2, 3:
				if len(out) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				e := out[i]
				out = append(out[:i], out[i+1:]...)
				if rapid.Bool().Draw(t, "taken") {
					if _, err := w.ack(e.Offset, e.attempt); err == nil {
						if settled[e.Offset] {
							t.Fatalf("%d was settled twice", e.Offset)
						}
						settled[e.Offset] = true
						if key := keys[e.Offset]; key != "" {
							if e.Offset < last[key] {
								t.Fatalf("%d of %s was settled behind %d", e.Offset, key, last[key])
							}
							last[key] = e.Offset
						}
					}
				} else {
					_ = w.again(e.Offset, e.attempt, now.Add(time.Second))
				}
			case 4:
				now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			}
			check(t, w, settled)
		}
		for left := len(settled); left >= 0; left-- {
			now = now.Add(time.Hour)
			got, _ := w.take(now, 100, time.Minute)
			for _, e := range got {
				if _, err := w.ack(e.Offset, e.attempt); err != nil {
					t.Fatal(err)
				}
			}
		}
		if at, _ := w.offset(); len(w.entries) > 0 || w.bytes != 0 || len(settled) > 0 && at != next {
			t.Fatalf("%d are left, the offset is %d", len(w.entries), at)
		}
	})
}

func check(t *rapid.T, w *window, settled map[int64]bool) {
	at, ok := w.offset()
	for offset, is := range settled {
		if !is && (!ok || at > offset) {
			t.Fatalf("the offset is %d, and %d is not settled", at, offset)
		}
	}
	underway := map[string]int{}
	for _, e := range w.entries {
		if e.Key != nil && e.inFlight {
			if underway[string(e.Key)]++; underway[string(e.Key)] > 1 {
				t.Fatalf("two of %s are under way", e.Key)
			}
		}
	}
}

func TestWindowSaysWhenThereIsMore(t *testing.T) {
	w, now := newWindow(), time.Unix(100, 0)
	if _, more := w.take(now, 1, time.Minute); !more.IsZero() {
		t.Error(more)
	}
	w.add(Event{Offset: 7})
	got, _ := w.take(now, 1, time.Minute)
	if len(got) != 1 || got[0].attempt != 1 {
		t.Fatal(got)
	}
	if got, more := w.take(now, 1, time.Minute); len(got) != 0 || !more.Equal(now.Add(time.Minute)) {
		t.Error(got, more)
	}
	if err := w.extend(7, 1, now.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got, _ := w.take(now.Add(time.Minute), 1, time.Minute); len(got) != 0 {
		t.Error("it was given to another before its time was over")
	}
	if got, _ := w.take(now.Add(2*time.Minute), 1, time.Minute); len(got) != 1 || got[0].attempt != 2 {
		t.Error(got)
	}
	if _, err := w.ack(7, 1); err != ErrSettled {
		t.Error("who was too late settled what another has: ", err)
	}
	if moved, err := w.ack(7, 2); err != nil || !moved {
		t.Error(moved, err)
	}
	if at, ok := w.offset(); at != 8 || !ok {
		t.Error(at, ok)
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := newWindow()
	for i := range int64(maxUnsettled) {
		if w.full() {
			t.Fatal("full with ", i)
		}
		w.add(Event{Offset: i})
	}
	if !w.full() || w.roomy() {
		t.Error("it is not full")
	}
	// One that is not settled lets so many others pass, and no more.
	w = newWindow()
	w.add(Event{Offset: 0})
	w.add(Event{Offset: maxAhead - 1})
	if w.full() {
		t.Error("full too early")
	}
	w.add(Event{Offset: maxAhead})
	if !w.full() {
		t.Error("it is not full")
	}
	// A log that was cut begins anew.
	w.add(Event{Offset: 5})
	if at, _ := w.offset(); at != 5 || len(w.entries) != 1 {
		t.Error(at, len(w.entries))
	}
	w = newWindow()
	w.add(Event{Offset: 0, Body: make([]byte, maxUnsettledBytes)})
	if !w.full() {
		t.Error("the bytes don't count")
	}
}

func TestPositions(t *testing.T) {
	for text, want := range map[string]string{"7": "0:7", "0:7": "0:7", "3:1,0:9": "0:9,3:1"} {
		if at, err := ParsePosition(text); err != nil || at.String() != want {
			t.Errorf("%s: %s, %v", text, at, err)
		}
	}
	for _, text := range []string{"", "a", "-1", "0:", ":1", "0:1,", "0:1,0:2", "4294967296:1", "0:99999999999999999999"} {
		if at, err := ParsePosition(text); err == nil {
			t.Errorf("%q: %s", text, at)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("0:1,7:12")
	f.Fuzz(func(t *testing.T, text string) {
		at, err := ParsePosition(text)
		if err != nil {
			return
		}
		if again, err := ParsePosition(at.String()); err != nil || fmt.Sprint(again) != fmt.Sprint(at) {
			t.Errorf("%q: %s, %v", text, again, err)
		}
	})
}
