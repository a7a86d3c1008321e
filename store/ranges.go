package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/store/cluster"
	"github.com/banyanhq/banyan/store/dynamo"
)

// Ranges says how the tables of a cluster are spread, as one of its nodes sees it.
type Ranges struct {
	Node   uint64
	Ranges []RangeLoad
	Keys   []cluster.HotKey
	Plan   []cluster.Action
	// Done are the actions that were carried out, where that was asked for, and Failed why others were not.
	Done   []cluster.Action
	Failed []string
}

// RangeLoad is a group with what it has to do. Its rows are those of the buckets from First up to Last; -1 stands for the tables that
// are not spread and the descriptions of all.
type RangeLoad struct {
	Group         uint64
	First, Last   int
	Leader        uint64  // node, 0 if unknown
	Writes, Reads float64 // a second; reads are those that this node answered
	Bytes         uint64
}

// Targets of the operations beside those of DynamoDB.
const (
	rangesTarget = "Banyan_20261129.DescribeRanges"
	applyTarget  = "Banyan_20261129.ApplyPlan"
	splitTarget  = "Banyan_20261129.SplitRange"
)

// operations are those of a cluster.
func (s *Store) operations() map[string]func(context.Context, []byte) ([]byte, error) {
	n, ok := s.engine.(*cluster.Node)
	if !ok {
		return nil
	}
	return map[string]func(context.Context, []byte) ([]byte, error){
		rangesTarget: func(ctx context.Context, _ []byte) ([]byte, error) { return describeRanges(ctx, n, &Ranges{}) },
		applyTarget:  func(ctx context.Context, _ []byte) ([]byte, error) { return applyPlan(ctx, n) },
		splitTarget:  func(ctx context.Context, in []byte) ([]byte, error) { return splitRange(ctx, n, in) },
	}
}

const shownKeys = 10

func describeRanges(ctx context.Context, n *cluster.Node, out *Ranges) ([]byte, error) {
	loads, err := n.Loads(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range loads {
		out.Ranges = append(out.Ranges, RangeLoad{Group: l.Group, First: int(l.First) - 1, Last: int(l.Last) - 1, Leader: cluster.Number(l.Leader),
			Writes: l.Writes, Reads: l.Reads, Bytes: l.Bytes})
	}
	out.Node, out.Keys = cluster.Number(n.ID()), n.HotKeys(shownKeys)
	if out.Plan, err = n.Plan(ctx); err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

func applyPlan(ctx context.Context, n *cluster.Node) ([]byte, error) {
	plan, err := n.Plan(ctx)
	if err != nil {
		return nil, err
	}
	out := &Ranges{}
	for _, a := range plan {
		if err := n.Apply(ctx, a); err != nil {
			out.Failed = append(out.Failed, fmt.Sprintf("%s: %v", a, err))
		} else {
			out.Done = append(out.Done, a)
		}
	}
	return describeRanges(ctx, n, out)
}

func splitRange(ctx context.Context, n *cluster.Node, in []byte) ([]byte, error) {
	var p struct{ Bucket *int }
	d := json.NewDecoder(bytes.NewReader(in))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || p.Bucket == nil {
		return nil, &dynamo.Error{Code: "ValidationException", Message: "expected {\"Bucket\": NUMBER}"}
	}
	a := cluster.Action{Do: "split", At: cluster.HomeOfBucket(*p.Bucket)}
	if err := n.Apply(ctx, a); err != nil {
		if n.Unavailable(err) {
			return nil, err
		}
		return nil, &dynamo.Error{Code: "ValidationException", Message: err.Error()}
	}
	return describeRanges(ctx, n, &Ranges{Done: []cluster.Action{a}})
}

// Signer signs a request to tables whose users must sign; body is what it carries.
type Signer func(r *http.Request, body []byte) error

// DescribeRanges asks the tables at a URL how they are spread, and with apply has them carry their plan out.
func DescribeRanges(ctx context.Context, url string, apply bool, sign Signer) (*Ranges, error) {
	target := rangesTarget
	if apply {
		target = applyTarget
	}
	return ask(ctx, url, target, []byte("{}"), sign)
}

// SplitRange has the tables at a URL split the range of a bucket so that it begins a new one.
func SplitRange(ctx context.Context, url string, bucket int, sign Signer) (*Ranges, error) {
	return ask(ctx, url, splitTarget, fmt.Appendf(nil, `{"Bucket":%d}`, bucket), sign)
}

const (
	answerLimit = 4 << 20
	askFor      = 30 * time.Second
)

func ask(ctx context.Context, url, target string, in []byte, sign Signer) (*Ranges, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(in))
	if err != nil {
		return nil, fmt.Errorf("asking the tables: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", target)
	if sign != nil {
		if err := sign(r, in); err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking the tables: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("asking the tables: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var refused struct {
			Type    string `json:"__type"`
			Message string
		}
		_ = json.Unmarshal(body, &refused) // what can't be read is shown as it came
		if refused.Type == "com.amazon.coral.service#UnknownOperationException" {
			return nil, fmt.Errorf("the tables at %s are on one node: only those of a cluster have ranges", url)
		}
		if refused.Message == "" {
			refused.Message = fmt.Sprintf("%.300s", body)
		}
		return nil, fmt.Errorf("the tables at %s: HTTP %d: %s", url, res.StatusCode, refused.Message)
	}
	out := &Ranges{}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("the tables at %s: %w", url, err)
	}
	return out, nil
}
