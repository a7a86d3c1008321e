package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/banyanhq/banyan/examples/shop/tables"
)

// cartsTable holds an item for each cart that is not empty.
const cartsTable = "carts"

// row is an item of the table.
type row struct {
	Cart
	// Expires is when it is forgotten, in Unix seconds: the table's time to
	// live.
	Expires int64 `json:"expires"`
	// Change names the write that made it, so that one whose answer got lost is
	// known when it is tried again.
	Change string `json:"change"`
}

// tableStore keeps the carts in a table. Nobody waits for anybody: a change is
// written if the cart still has the version that it was made from, and made
// anew from what the cart has become otherwise.
type tableStore struct {
	client *dynamodb.Client
	now    func() time.Time
}

func openTable(ctx context.Context, client *dynamodb.Client) (*tableStore, error) {
	s := &tableStore{client: client, now: time.Now}
	return s, s.expire(ctx)
}

// expire has the table forget carts once they expire, unless it does already.
func (s *tableStore) expire(ctx context.Context) error {
	is, err := s.client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(cartsTable)})
	if err != nil {
		return fmt.Errorf("asking for the time to live of the table %s: %w", cartsTable, err)
	}
	if d := is.TimeToLiveDescription; d != nil && (d.TimeToLiveStatus == types.TimeToLiveStatusEnabled || d.TimeToLiveStatus == types.TimeToLiveStatusEnabling) {
		return nil
	}
	_, err = s.client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: aws.String(cartsTable),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)}})
	var refused smithy.APIError
	if errors.As(err, &refused) && refused.ErrorCode() == "ValidationException" {
		return nil // another replica was quicker
	}
	if err != nil {
		return fmt.Errorf("setting the time to live of the table %s: %w", cartsTable, err)
	}
	return nil
}

func cartKey(id string) tables.Item { return tables.Item{"cart": tables.Text(id)} }

func (s *tableStore) get(ctx context.Context, id string) (Cart, error) {
	r := row{Cart: Cart{ID: id, Items: []Item{}}}
	_, err := tables.Get(ctx, s.client, cartsTable, cartKey(id), &r)
	return r.Cart, err
}

func (s *tableStore) change(ctx context.Context, id string, f func(*Cart) error) (is Cart, err error) {
	was, err := s.get(ctx, id)
	if err != nil {
		return Cart{}, err
	}
	err = tables.Compete(ctx, func() (bool, error) {
		is = was
		is.Items = slices.Clone(was.Items)
		if err := f(&is); err != nil {
			return false, err
		}
		is.renew(s.now())
		if len(was.Items) == 0 && len(is.Items) == 0 {
			return true, nil
		}
		var done bool
		was, done, err = s.replace(ctx, was, is)
		return done, err
	})
	if err != nil {
		return Cart{}, fmt.Errorf("changing the cart %s: %w", id, err)
	}
	return is, nil
}

// replace puts a cart in the place of what it was made from; if something else
// is there by now, it returns that.
func (s *tableStore) replace(ctx context.Context, was, is Cart) (now Cart, done bool, err error) {
	condition, values := "attribute_not_exists(version)", tables.Item(nil)
	if was.Version != 0 {
		condition, values = "version = :was", tables.Item{":was": tables.Number(was.Version)}
	}
	wanted := row{Cart: is, Expires: s.now().Add(keepFor).Unix(), Change: rand.Text()}
	if len(is.Items) == 0 {
		_, err = s.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(cartsTable), Key: cartKey(is.ID),
			ConditionExpression: &condition, ExpressionAttributeValues: values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	} else {
		var item tables.Item
		if item, err = tables.Encode(wanted); err != nil {
			return Cart{}, false, err
		}
		_, err = s.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(cartsTable), Item: item,
			ConditionExpression: &condition, ExpressionAttributeValues: values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	}
	there, refused := tables.Refused(err)
	if !refused {
		return is, err == nil, err
	}
	r := row{Cart: Cart{ID: is.ID, Items: []Item{}}}
	if err := tables.Decode(there, &r); err != nil {
		return Cart{}, false, err
	}
	return r.Cart, r.Change == wanted.Change, nil
}
