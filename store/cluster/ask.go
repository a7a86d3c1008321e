package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/banyanhq/banyan/store/replica"
	"github.com/banyanhq/banyan/transport"
)

// question is what nodes, and those who look after them, ask a node.
type question struct {
	Op      string   `json:"op"`
	From    uint64   `json:"from,omitempty"`
	Asking  bool     `json:"asking,omitempty"` // for replicas
	Members []Member `json:"members,omitempty"`
	Node    uint64   `json:"node,omitempty"` // a number
	Group   uint64   `json:"group,omitempty"`
	Index   uint64   `json:"index,omitempty"`
	Why     string   `json:"why,omitempty"`
}

// reply is the answer to a question.
type reply struct {
	Error   string       `json:"error,omitempty"`
	From    uint64       `json:"from,omitempty"`
	Members []Member     `json:"members,omitempty"`
	Refused string       `json:"refused,omitempty"` // why the asker gets no replicas
	Report  *report      `json:"report,omitempty"`
	Nodes   []NodeStatus `json:"nodes,omitempty"`
	Check   *CheckStatus `json:"check,omitempty"`

	Index      uint64            `json:"index,omitempty"`  // at which replicas are added up
	Adding     bool              `json:"adding,omitempty"` // it is at it
	Sum        *replica.Checksum `json:"sum,omitempty"`
	Unreadable string            `json:"unreadable,omitempty"` // why there is no sum, and never will be
	Read       int64             `json:"read,omitempty"`       // bytes of tables
}

func (n *Node) reply(ctx context.Context, q question) (*reply, error) {
	switch q.Op {
	case "hello":
		return n.greeted(q)
	case "status":
		report, err := n.report(ctx)
		return &reply{From: n.known.id, Report: report}, err
	case "nodes":
		nodes, err := n.Nodes(ctx)
		return &reply{Nodes: nodes}, err
	case "drain":
		return &reply{}, n.Drain(ctx, q.Node)
	case "remove":
		return &reply{}, n.Remove(ctx, q.Node)
	case "check":
		n.Check()
		status := n.Checked()
		return &reply{Check: &status}, nil
	case "checked":
		status := n.Checked()
		return &reply{Check: &status}, nil
	case "checksums":
		index, err := n.host.Check(ctx, q.Group)
		return &reply{Index: index}, err
	case "checksum":
		return n.checksum(q.Group, q.Index), nil
	case "read":
		return n.read(q.Index), nil
	case "damaged":
		n.damaged(fmt.Errorf("%.300s", q.Why))
		return &reply{}, nil
	case "spare":
		return &reply{}, n.spare(ctx, q.From)
	}
	return nil, fmt.Errorf("%.40q is not supported", q.Op)
}

func ask(ctx context.Context, caller transport.Caller, address string, q question) (*reply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	answer, err := caller.Call(ctx, address, body)
	if err != nil {
		return nil, err
	}
	return decodeReply(address, answer)
}

func decodeReply(address string, answer []byte) (*reply, error) {
	var r reply
	if err := decodeStrictly(answer, &r); err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", address, err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return &r, nil
}

func decodeStrictly(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value")
	}
	return nil
}

// answer answers a question of another node, or of someone who looks after the cluster.
func (n *Node) answer(ctx context.Context, request []byte) []byte {
	var q question
	r := &reply{}
	err := decodeStrictly(request, &q)
	if err == nil {
		r, err = n.reply(ctx, q)
	}
	if err != nil {
		r = &reply{Error: err.Error()}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return body
}

func (n *Node) checksum(group, index uint64) *reply {
	sum, adding, found, err := n.host.Checksum(group, index)
	r := &reply{Adding: adding}
	if found {
		r.Sum = &sum
	}
	if err != nil {
		r.Unreadable = err.Error()
	}
	return r
}
