package replica

import (
	"bytes"
	"reflect"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/banyanhq/banyan/store/raftlog"
)

func sampleMessages() []message {
	id := proposalID{1, 2, 3}
	return []message{
		{kind: kindRaft, group: 1, from: 2, to: 3, raft: &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(2)), To: new(uint64(3)),
			Term: new(uint64(4)), LogTerm: new(uint64(5)), Index: new(uint64(6)), Commit: new(uint64(7)), Context: []byte("context"),
			Entries: []*raftpb.Entry{{Type: raftpb.EntryNormal.Enum(), Term: new(uint64(8)), Index: new(uint64(9)), Data: []byte("data")}}}},
		{kind: kindRaft, group: 1, from: 2, to: 3, raft: &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(3)),
			Term: new(uint64(4)), Reject: new(true), RejectHint: new(uint64(5)), Vote: new(uint64(6))}},
		{kind: kindForward, group: 1, from: 2, to: 3, id: id, attempt: 4, data: []byte("command")},
		{kind: kindRefuse, group: 1, from: 2, to: 3, id: id, attempt: 4, reason: overloaded},
		{kind: kindQuiesce, group: 1, from: 2, to: 3, term: 4, index: 5},
		{kind: kindGone, group: 1, from: 2, to: 3, forward: forward{voters: []voter{{Replica{ID: 4, Node: 5}, true, false}, {Replica{ID: 6, Node: 7}, false, true}}}},
		{kind: kindGone, group: 1, from: 2, to: 3, forward: forward{left: 4, index: 50}},
		{kind: kindProbe, group: 1, from: 2, to: 3, term: 4, index: 5},
		{kind: kindChunk, group: 1, from: 2, to: 3, chunk: &chunk{stream: 4, seq: 5, last: true, term: 6, index: 7, logTerm: 8, state: []byte("state"),
			pairs: []raftlog.KV{{Key: []byte("key"), Value: []byte("value")}}}},
		{kind: kindAck, group: 1, from: 2, to: 3, ack: chunkAck{4, 5, streamRefused}},
	}
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	want := sampleMessages()
	got, err := decodeFrame(encodeFrame(want))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d messages became %d, error %v", len(want), len(got), err)
	}
	for i := range want {
		if want[i].raft != nil {
			if !proto.Equal(want[i].raft, got[i].raft) {
				t.Errorf("message %d: %v became %v", i, want[i].raft, got[i].raft)
			}
			want[i].raft, got[i].raft = nil, nil
		}
		if !reflect.DeepEqual(want[i], got[i]) {
			t.Errorf("message %d: %+v became %+v", i, want[i], got[i])
		}
	}
}

func TestFramesThatAreCutAreRefused(t *testing.T) {
	frame := encodeFrame(sampleMessages())
	for n := range frame {
		if _, err := decodeFrame(frame[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were taken for a frame", n, len(frame))
		}
	}
	if _, err := decodeFrame(append(frame, 0)); err == nil {
		t.Error("a frame with something behind it was taken")
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(encodeFrame(sampleMessages()))
	for _, m := range sampleMessages() {
		f.Add(encodeFrame([]message{m}))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		messages, err := decodeFrame(frame)
		if err != nil {
			return
		}
		again, err := decodeFrame(encodeFrame(messages))
		if err != nil || len(again) != len(messages) {
			t.Fatalf("%d messages became %d, error %v", len(messages), len(again), err)
		}
	})
}

func sampleState() state {
	s := newState(Descriptor{Group: 4, Start: []byte("da"), End: []byte("db"), Generation: 5, NextReplica: 9,
		Replicas: []Replica{{1, 10, false}, {3, 11, false}, {8, 12, true}}})
	s.conf.VotersOutgoing, s.conf.AutoLeave, s.frozen = []uint64{1, 7}, new(true), true
	return s
}

func TestStateComesBackAsItWas(t *testing.T) {
	want := sampleState()
	got, err := decodeState(encodeState(&want))
	if err != nil || !bytes.Equal(encodeState(&got), encodeState(&want)) || !reflect.DeepEqual(got.desc, want.desc) || !got.frozen {
		t.Errorf("%+v became %+v, error %v", want, got, err)
	}
	for name, spoil := range map[string]func(*state){
		"no rows":             func(s *state) { s.desc.End = s.desc.Start },
		"not rows":            func(s *state) { s.desc.Start = []byte("c") },
		"no replicas":         func(s *state) { s.desc.Replicas = nil },
		"two on a node":       func(s *state) { s.desc.Replicas[1].Node = 10 },
		"replicas unordered":  func(s *state) { s.desc.Replicas[1].ID = 1 },
		"replica of tomorrow": func(s *state) { s.desc.Replicas[2].ID = 9 },
		"group 0":             func(s *state) { s.desc.Group = 0 },
	} {
		s := sampleState()
		spoil(&s)
		if _, err := decodeState(encodeState(&s)); err == nil {
			t.Errorf("%s: a state was taken", name)
		}
	}
}

func FuzzState(f *testing.F) {
	s := sampleState()
	f.Add(encodeState(&s))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err == nil {
			if _, err := decodeState(encodeState(&s)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzCommand(f *testing.F) {
	c := command{kind: commandData, id: proposalID{1, 2, 3}, generation: 4, token: []byte("token"), key: []byte("key"), group: 5, index: 6, body: []byte("body")}
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		if again, err := decodeCommand(c.encode()); err != nil || !bytes.Equal(again.encode(), c.encode()) {
			t.Fatalf("%+v became %+v, error %v", c, again, err)
		}
	})
}

func FuzzConfContext(f *testing.F) {
	f.Add((&confContext{id: proposalID{1, 2, 3}, expected: 4, added: []Replica{{ID: 4, Node: 9}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeConfContext(b)
		if err != nil {
			return
		}
		if again, err := decodeConfContext(c.encode()); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v came back as %+v, error %v", c, again, err)
		}
	})
}
