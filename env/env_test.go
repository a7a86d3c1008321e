package env

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestWorldOrdersEvents(t *testing.T) {
	w := NewWorld(1)
	var got []string
	note := func(s string) func() { return func() { got = append(got, s) } }
	w.After(2*time.Second, note("late"))
	w.After(time.Second, note("first"))
	w.After(time.Second, note("second"))
	cancel := w.After(time.Second, note("never"))
	w.After(time.Second, func() { w.After(0, note("third")) })
	cancel()
	if n := w.Run(time.Second); n != 4 || w.Now() != time.Second {
		t.Errorf("%d events happened until %v, want 4 until 1s", n, w.Now())
	}
	w.Run(time.Minute)
	if want := []string{"first", "second", "third", "late"}; !slices.Equal(got, want) {
		t.Errorf("events came as %v, want %v", got, want)
	}
	if w.Now() != time.Minute {
		t.Errorf("the world stands at %v, want 1m", w.Now())
	}
}

// deliveries sends numbered messages through a network and says which arrived, in order.
func deliveries(seed uint64, faults NetworkFaults, prepare func(*Network)) (got []byte, n *Network, trace uint64) {
	w := NewWorld(seed)
	n = NewNetwork(w, faults)
	n.Attach(2, func(from uint64, m []byte) { got = append(got, m[0]) })
	if prepare != nil {
		prepare(n)
	}
	for i := range 100 {
		w.After(time.Duration(i)*time.Millisecond, func() { n.Send(1, 2, []byte{byte(i)}) })
	}
	w.Run(time.Minute)
	return got, n, w.Trace()
}

func TestNetworkFaults(t *testing.T) {
	jitter := NetworkFaults{Delay: time.Millisecond, Jitter: 50 * time.Millisecond}
	got, _, _ := deliveries(1, jitter, nil)
	if len(got) != 100 || !slices.IsSorted(got) {
		t.Errorf("a link without faults delivered %v", got)
	}
	lossy := jitter
	lossy.Drop = 0.5
	got, n, _ := deliveries(1, lossy, nil)
	if len(got) < 20 || len(got) > 80 || n.Dropped != 100-len(got) {
		t.Errorf("of 100 messages, half of them dropped, %d arrived and %d were dropped", len(got), n.Dropped)
	}
	twice := jitter
	twice.Duplicate = 0.5
	if got, n, _ = deliveries(1, twice, nil); len(got) != 100+n.Duplicated || n.Duplicated < 20 {
		t.Errorf("%d messages arrived, %d of them twice", len(got), n.Duplicated)
	}
	unordered := jitter
	unordered.Reorder = 0.5
	if got, _, _ = deliveries(1, unordered, nil); len(got) != 100 || slices.IsSorted(got) {
		t.Errorf("a link that reorders delivered %v", got)
	}
	if got, n, _ = deliveries(1, jitter, func(n *Network) { n.CutLink(1, 2) }); len(got) != 0 || n.Cut != 100 {
		t.Errorf("a link that is cut delivered %v", got)
	}
	if got, _, _ = deliveries(1, jitter, func(n *Network) { n.CutLink(2, 1) }); len(got) != 100 {
		t.Errorf("a link of which the other direction is cut delivered %d", len(got))
	}
	if got, _, _ = deliveries(1, jitter, func(n *Network) { n.CutLink(1, 2); n.Heal() }); len(got) != 100 {
		t.Errorf("a link that was healed delivered %d", len(got))
	}
}

func TestOneLinkCanBeSlowAndHealed(t *testing.T) {
	w := NewWorld(1)
	n := NewNetwork(w, NetworkFaults{Delay: time.Second})
	var from []uint64
	n.Attach(3, func(node uint64, _ []byte) { from = append(from, node) })
	send := func() { n.Send(1, 3, []byte("x")); n.Send(2, 3, []byte("x")) }
	n.SlowLink(1, 3, time.Hour)
	send()
	w.Run(time.Minute)
	if !slices.Equal(from, []uint64{2}) {
		t.Errorf("after a minute messages arrived from %v, want from 2 alone", from)
	}
	w.Run(2 * time.Hour)
	send()
	n.CutLink(1, 3)
	n.BreakLink(2, 3) // loses what was just sent
	n.HealLink(1, 3)
	send()
	w.Run(4 * time.Hour)
	if !slices.Equal(from, []uint64{2, 1, 1, 1}) {
		t.Errorf("messages arrived from %v, want from 2, late from 1, and then from 1 alone", from)
	}
}

func TestWhatIsOnItsWayDiesWithItsReceiver(t *testing.T) {
	w := NewWorld(1)
	n := NewNetwork(w, NetworkFaults{Delay: time.Second})
	old, now := 0, 0
	n.Attach(2, func(uint64, []byte) { old++ })
	n.Send(1, 2, []byte("x"))
	n.Detach(2)
	n.Attach(2, func(uint64, []byte) { now++ })
	w.Run(time.Minute)
	if old != 0 || now != 0 || n.Dropped != 1 {
		t.Errorf("it arrived %d times at the old and %d at the new process, dropped %d", old, now, n.Dropped)
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	faults := NetworkFaults{Delay: time.Millisecond, Jitter: 50 * time.Millisecond, Drop: 0.1, Duplicate: 0.1, Reorder: 0.1}
	_, _, a := deliveries(7, faults, nil)
	_, _, b := deliveries(7, faults, nil)
	_, _, c := deliveries(8, faults, nil)
	if a != b || a == c {
		t.Errorf("traces of seeds 7, 7 and 8: %x, %x, %x", a, b, c)
	}
}

func TestDiskForgetsAtACrash(t *testing.T) {
	d := NewDisk(NewWorld(1), DiskFaults{})
	write := func(name string, sync bool) {
		f, err := d.FS().Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("data")); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write("kept", true)
	write("torn", false)
	dir, err := d.FS().OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	write("lost", true) // but not its directory entry
	d.Crash()
	names, err := d.FS().List("")
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"kept", "torn"}) {
		t.Errorf("after the crash there are %v, error %v", names, err)
	}
	read := func(name string) string {
		f, err := d.FS().Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if read("kept") != "data" || read("torn") != "" {
		t.Errorf("after the crash the files hold %q and %q", read("kept"), read("torn"))
	}
	name, err := d.FlipBit("", "kept")
	if err != nil || name != "kept" || read("kept") == "data" {
		t.Errorf("a bit was flipped in %q, which holds %q, error %v", name, read("kept"), err)
	}
	if name, err := d.FlipBit("", ".none"); name != "" || err != nil {
		t.Errorf("a bit was flipped in %q, error %v", name, err)
	}
}

func TestSyncTimes(t *testing.T) {
	d := NewDisk(NewWorld(1), DiskFaults{Sync: time.Millisecond, Jitter: time.Millisecond, Slow: 0.3, SlowTime: time.Second})
	slow := 0
	for range 100 {
		switch s := d.SyncTime(); {
		case s == time.Second:
			slow++
		case s < time.Millisecond || s >= 2*time.Millisecond:
			t.Errorf("a sync takes %v", s)
		}
	}
	if slow < 10 || slow > 60 || d.SlowSyncs != slow || d.Syncs != 100 {
		t.Errorf("%d of %d syncs were slow, %d and 100 were counted", slow, d.Syncs, d.SlowSyncs)
	}
}
