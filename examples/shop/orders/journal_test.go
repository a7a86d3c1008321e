package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Opening a book of 100,000 orders, and what it takes in memory.
func BenchmarkOpen(b *testing.B) {
	const orders = 100_000
	dir := b.TempDir()
	fill(b, dir, orders)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		book, err := openJournal(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if len(book.orders) != orders {
			b.Fatalf("%d orders", len(book.orders))
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/orders, "B/order")
	info, err := os.Stat(filepath.Join(dir, "orders.log"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/orders, "disk-B/order")
}

func fill(b *testing.B, dir string, n int) {
	book, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- book.journal.Run(ctx) }()
	var wg sync.WaitGroup
	for w := range 100 {
		wg.Go(func() {
			for i := w; i < n; i += 100 {
				o := Order{
					ID: orderID(key(i)), Status: pending, TotalCents: 7, LastFour: "4242", At: 1_700_000_000_000,
					Lines:    []Line{{7, "Amber Brass Desk Lamp", 1, 7}},
					Customer: Customer{"Ann Example", "ann@example.org", "1 Banyan Road"},
				}
				_, _, err := book.reserve(ctx, o, fingerprint("x"), map[int]int64{7: 1_000_000})
				if err == nil {
					_, err = book.settle(ctx, settle{ID: o.ID, Status: confirmed, Reference: "acq-" + o.ID})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// A book forgets old orders, and not what they took.
func TestTheBookStaysBounded(t *testing.T) {
	dir := t.TempDir()
	const keep, orders, compactAbove = 5, 200, 4000
	open := func() (*journalBook, func()) {
		b, err := openJournalKeeping(dir, slog.New(slog.DiscardHandler), keep, compactAbove)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- b.journal.Run(ctx) }()
		return b, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	b, stop := open()
	ids := make([]string, orders)
	for i := range orders {
		o := Order{ID: orderID(strconv.Itoa(i)), Status: pending, Lines: []Line{{Product: 1 + i%2, Quantity: 2}}}
		ids[i] = o.ID
		if _, made, err := b.reserve(t.Context(), o, "print", map[int]int64{1: 1000, 2: 1000}); err != nil || !made {
			t.Fatal(made, err)
		}
		to := settle{ID: o.ID, Status: confirmed}
		if i%4 == 3 {
			to.Status = declined // of product 2
		}
		if i == 0 {
			continue // stays pending
		}
		if _, err := b.settle(t.Context(), to); err != nil {
			t.Fatal(err)
		}
	}
	check := func(b *journalBook) {
		t.Helper()
		for product, want := range map[int]int64{1: orders, 2: orders / 2} {
			if s, err := b.stock(t.Context(), product); err != nil || s.Taken != want {
				t.Errorf("product %d: %d taken, want %d (%v)", product, s.Taken, want, err)
			}
		}
		for i, want := range map[int]bool{0: true, 1: false, 50: false, orders - 2: true, orders - 1: true} {
			if o, ok, err := b.get(t.Context(), ids[i]); err != nil || ok != want || ok && o.ID != ids[i] {
				t.Errorf("order %d: there %v, want %v (%v)", i, ok, want, err)
			}
		}
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "orders.log"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	// What came while a slow disk had a compaction under way is compacted with the next requests, which need not write.
	for wait := time.Now().Add(2 * time.Minute); size() > 3*compactAbove && time.Now().Before(wait); time.Sleep(time.Millisecond) {
		if _, err := b.settle(t.Context(), settle{ID: ids[orders-1], Status: confirmed}); err != nil {
			t.Fatal(err)
		}
	}
	stop() // waits for the compaction under way
	b, stop = open()
	check(b)
	stop()
	if n := size(); n > 3*compactAbove {
		t.Errorf("the file has %d bytes", n)
	}
}
