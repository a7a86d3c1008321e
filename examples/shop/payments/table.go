package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/examples/shop/tables"
)

// paymentsTable holds an item for each idempotency key.
const paymentsTable = "payments"

// tableLedger keeps the payments in a table. Each write is conditional on what
// may have become of the key before, so it may be tried again whenever its
// answer was lost.
type tableLedger struct {
	client *dynamodb.Client
	now    func() time.Time
}

func paymentKey(key string) tables.Item { return tables.Item{"key": tables.Text(key)} }

func (l *tableLedger) get(ctx context.Context, key string) (p Payment, ok bool, err error) {
	ok, err = tables.Get(ctx, l.client, paymentsTable, paymentKey(key), &p)
	return p, ok, err
}

func (l *tableLedger) record(ctx context.Context, p Payment) (is Payment, made bool, err error) {
	p.At = l.now().Unix()
	item, err := tables.Encode(p)
	if err != nil {
		return Payment{}, false, err
	}
	_, err = l.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(paymentsTable), Item: item,
		ConditionExpression: aws.String("attribute_not_exists(#key)"), ExpressionAttributeNames: map[string]string{"#key": "key"},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	if there, refused := tables.Refused(err); refused {
		return is, false, tables.Decode(there, &is)
	}
	if err != nil {
		return Payment{}, false, fmt.Errorf("recording the payment %s: %w", p.Key, err)
	}
	return p, true, nil
}

func (l *tableLedger) refund(ctx context.Context, key string) (Payment, error) {
	is, _, err := l.record(ctx, Payment{Key: key, Status: cancelled})
	if err != nil || is.Status != approved {
		return is, err
	}
	out, err := l.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: aws.String(paymentsTable), Key: paymentKey(key),
		UpdateExpression:          aws.String("SET #status = :refunded, #at = :now"),
		ConditionExpression:       aws.String("#status = :approved"),
		ExpressionAttributeNames:  map[string]string{"#status": "status", "#at": "at"},
		ExpressionAttributeValues: tables.Item{":refunded": tables.Text(refunded), ":approved": tables.Text(approved), ":now": tables.Number(l.now().Unix())},
		ReturnValues:              types.ReturnValueAllNew, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	if there, refused := tables.Refused(err); refused {
		return is, tables.Decode(there, &is) // refunded meanwhile
	}
	if err != nil {
		return Payment{}, fmt.Errorf("refunding the payment %s: %w", key, err)
	}
	return is, tables.Decode(out.Attributes, &is)
}
