// Package tables is how the shop's services reach tables behind the DynamoDB API: a client for aws-sdk-go-v2 that is made from
// the environment, and the few words that the services have in common.
//
// A service uses tables where its environment names an endpoint of them, and journals of its own elsewhere; Open says which.
//
// It promises that an operation that got in the way of another one is tried again, a bounded number of times with full jitter; that
// each such try of a transaction carries the same token, so that it is carried out once; and that as many connections are kept
// open as there are requests under way. It starts no goroutines.
package tables

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	// endpoint is the variable that AWS SDKs find DynamoDB by.
	endpoint = "AWS_ENDPOINT_URL_DYNAMODB"

	// Tries of one operation: with the pauses below they take 1.2 s at most, on average half of that, which is well within
	// the time that a checkout has.
	attempts   = 9
	firstPause = 10 * time.Millisecond
	longPause  = 300 * time.Millisecond
	// Tries may use up so many of the SDK's tokens: for a conflict 5, for tables that do not answer 14. The SDK's own 500 would be
	// gone when a hundred buyers meet over one product.
	retryTokens = 4000

	// The configuration is read within so long.
	openTime = 5 * time.Second

	// A try that takes longer is given up, so that tables that hang do not hold up the sweep for ever.
	tryTime = 3 * time.Second

	// Connections that are kept open. The SDK's own client keeps 10 for each host: with more requests than that under way it
	// would open and close one for each of the rest.
	idleConnections = 256
)

// Open returns a client of the tables that the environment names, nil if it names none. Region and credentials are found as every
// AWS SDK finds them.
func Open(getenv func(string) string) (*dynamodb.Client, error) {
	url := getenv(endpoint)
	if url == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading how to reach the tables at %s=%s: %w", endpoint, url, err)
	}
	return New(cfg, url), nil
}

// New returns a client of the tables at a URL, with a configuration's region and credentials.
func New(cfg aws.Config, url string) *dynamodb.Client {
	pool := awshttp.NewBuildableClient().WithTimeout(tryTime).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost, t.IdleConnTimeout = idleConnections, idleConnections, time.Minute
	})
	return dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		o.BaseEndpoint = aws.String(url)
		o.HTTPClient = pool
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.RateLimiter = attempts, ratelimit.NewTokenRateLimit(retryTokens)
			o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return pause(attempt), nil })
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(conflicted)}, o.Retryables...)
			o.Throttles = append(o.Throttles, retry.IsErrorThrottleFunc(conflicted))
		})
	})
}

// conflicted says of an error that the operation met a transaction that had not ended yet: nothing was carried out, and it is
// worth another try.
func conflicted(err error) aws.Ternary {
	var write *types.TransactionConflictException
	if errors.As(err, &write) {
		return aws.TrueTernary
	}
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) {
		for _, r := range cancelled.CancellationReasons {
			if aws.ToString(r.Code) == "TransactionConflict" {
				return aws.TrueTernary
			}
		}
	}
	return aws.UnknownTernary
}

// pause is how long to wait after so many failed tries: anything up to a bound that doubles (full jitter), so that those who met
// do not meet again.
func pause(tries int) time.Duration {
	bound := longPause
	if shift := max(tries-1, 0); shift < 5 {
		bound = min(firstPause<<shift, longPause)
	}
	return rand.N(bound)
}

// ErrContended means that an item was changed by others each time that it was to be changed.
var ErrContended = errors.New("others changed it each time")

// Compete calls try until it says that it is done, a bounded number of times with pauses in between. It returns the error of try,
// ErrContended, or why ctx ended.
func Compete(ctx context.Context, try func() (done bool, err error)) error {
	for n := 1; ; n++ {
		done, err := try()
		if done || err != nil {
			return err
		}
		if n == attempts {
			return ErrContended
		}
		t := time.NewTimer(pause(n))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// Item is what a table holds under a key.
type Item = map[string]types.AttributeValue

// Encode makes an item of v, whose fields are named by their json tags.
func Encode(v any) (Item, error) {
	item, err := attributevalue.MarshalMapWithOptions(v, func(o *attributevalue.EncoderOptions) { o.TagKey = "json" })
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return item, nil
}

// Decode reads an item into what v points to.
func Decode(item Item, v any) error {
	if err := attributevalue.UnmarshalMapWithOptions(item, v, func(o *attributevalue.DecoderOptions) { o.TagKey = "json" }); err != nil {
		return fmt.Errorf("decoding %T: %w", v, err)
	}
	return nil
}

// Get reads the item of a key, with everything that was acknowledged before, into what v points to; false if there is none.
func Get(ctx context.Context, c *dynamodb.Client, table string, key Item, v any) (bool, error) {
	out, err := c.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return false, fmt.Errorf("reading from the table %s: %w", table, err)
	}
	if out.Item == nil {
		return false, nil
	}
	return true, Decode(out.Item, v)
}

// Refused says whether err is that an item did not fulfil the condition of a write, and what the item is then; nil if there is
// none.
func Refused(err error) (Item, bool) {
	var refused *types.ConditionalCheckFailedException
	if errors.As(err, &refused) {
		return refused.Item, true
	}
	return nil, false
}

// RefusedAt says the same of one of the writes of a transaction.
func RefusedAt(err error, write int) (Item, bool) {
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) && write < len(cancelled.CancellationReasons) {
		if r := cancelled.CancellationReasons[write]; aws.ToString(r.Code) == "ConditionalCheckFailed" {
			return r.Item, true
		}
	}
	return nil, false
}

// Text and Number make the values of attributes.
func Text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// Number makes a value of a whole number.
func Number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}
