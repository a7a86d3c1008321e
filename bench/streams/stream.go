package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// stream carries messages to the backend and back.
type stream interface {
	// send sends a message.
	send([]byte) error
	// receive returns the next one that came.
	receive() ([]byte, error)
	// close ends the stream, also while the others wait.
	close()
}

// kind is a set of streams that are alike.
type kind struct {
	name   string
	secure bool
	n      int
	dial   func(ctx context.Context, secure bool) (stream, error)

	survived, messages, bytes, longest atomic.Int64
	mu                                 sync.Mutex
	errors                             []error
}

// drive keeps the streams busy for their time, and reloads the configuration meanwhile.
func drive(ctx context.Context, r *rig, kinds []*kind, o options) (reloads int, err error) {
	over, end := context.WithTimeout(ctx, o.lasting)
	defer end()
	var streams sync.WaitGroup
	for _, k := range kinds {
		for i := range k.n {
			streams.Go(func() { k.keep(over, uint64(i), o.every) })
		}
	}
	ticks := time.NewTicker(o.reload)
	defer ticks.Stop()
	for err == nil {
		select {
		case <-over.Done():
			streams.Wait()
			return reloads, context.Cause(ctx)
		case <-ticks.C:
			if err = r.reload(); err == nil {
				reloads++
			}
		}
	}
	end()
	streams.Wait()
	return reloads, err
}

// patience is how long an echo may take: far more than a reload, on a machine that does other things too.
const patience = 20 * time.Second

// keep keeps one stream busy until over is.
func (k *kind) keep(over context.Context, number uint64, every time.Duration) {
	s, err := k.dial(context.WithoutCancel(over), k.secure)
	if err != nil {
		k.failed(fmt.Errorf("stream %d: beginning: %w", number, err))
		return
	}
	defer s.close()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	random := rand.NewChaCha8([32]byte{byte(number), byte(number >> 8)})
	for i := uint64(0); ; i++ {
		if err := k.exchange(s, i, random); err != nil {
			k.failed(fmt.Errorf("stream %d, message %d: %w", number, i, err))
			return
		}
		select {
		case <-over.Done():
			k.survived.Add(1)
			return
		case <-ticks.C:
		}
	}
}

// exchange sends a message and waits for its echo.
func (k *kind) exchange(s stream, number uint64, random *rand.ChaCha8) error {
	sent := make([]byte, 16+random.Uint64()%1000)
	_, _ = random.Read(sent) // never fails
	binary.BigEndian.PutUint64(sent, number)
	began := time.Now()
	impatient := time.AfterFunc(patience, s.close)
	defer impatient.Stop()
	if err := s.send(sent); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	got, err := s.receive()
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%d bytes came back that are not the %d that were sent", len(got), len(sent))
	}
	took := int64(time.Since(began))
	for before := k.longest.Load(); took > before && !k.longest.CompareAndSwap(before, took); before = k.longest.Load() {
	}
	k.messages.Add(1)
	k.bytes.Add(int64(len(sent)))
	return nil
}

func (k *kind) failed(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errors = append(k.errors, err)
}
