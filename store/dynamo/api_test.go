package dynamo_test

import (
	"fmt"
	"strings"
	"testing"
)

const (
	validation = "com.amazon.coral.validate#ValidationException"
	serial     = "com.amazon.coral.service#SerializationException"
	own        = "com.amazonaws.dynamodb.v20120810#"
)

// TestRefusals holds error types and messages against DynamoDB's.
func TestRefusals(t *testing.T) {
	a := open(t)
	must(t, a, "CreateTable", modelTable)
	must(t, a, "CreateTable", simpleTable)
	must(t, a, "PutItem", `{"TableName":"things","Item":{"id":{"S":"a"},"n":{"N":"1"}}}`)
	const wrong = "One or more parameter values were invalid: "
	big := strings.Repeat("x", 400<<10)
	for _, c := range []struct{ operation, body, kind, message string }{
		{"NoSuchThing", `{}`, "com.amazon.coral.service#UnknownOperationException", ""},
		{"ExecuteStatement", `{}`, "com.amazon.coral.service#UnknownOperationException", "The operation ExecuteStatement is not supported by these tables"},
		{"GetItem", ``, serial, ""}, {"GetItem", `{`, serial, ""}, {"GetItem", `[]`, serial, "Start of list found where not expected"}, {"GetItem", `{}x`, serial, ""},
		{"GetItem", `{"TableName":5}`, serial, "NUMBER_VALUE cannot be converted to String"},
		{"GetItem", `{"TableName":"things","ConsistentRead":"yes"}`, serial, "STRING_VALUE cannot be converted to Boolean"},
		{"GetItem", `{}`, validation, "2 validation errors detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null; Value null at 'key' failed to satisfy constraint: Member must not be null"},
		{"GetItem", `{"TableName":"a;","Key":{}}`, validation, "2 validation errors detected: Value 'a;' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value 'a;' at 'tableName' failed to satisfy constraint: Member must have length greater than or equal to 3"},
		{"GetItem", `{"TableName":"nothing","Key":{"id":{"S":"a"}}}`, own + "ResourceNotFoundException", "Requested resource not found"},
		{"DescribeTable", `{"TableName":"nothing"}`, own + "ResourceNotFoundException", "Requested resource not found: Table: nothing not found"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"N":"1"}}}`, validation, "The provided key element does not match the schema"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"a"},"x":{"S":"a"}}}`, validation, "The provided key element does not match the schema"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":""}}}`, validation, "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: id"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"` + big[:2049] + `"}}}`, validation, wrong + "Size of hashkey has exceeded the maximum size limit of2048 bytes"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"AttributesToGet":["a"],"ProjectionExpression":"b"}`, validation, "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"ExpressionAttributeNames":{"#a":"a"}}`, validation, "ExpressionAttributeNames can only be specified when using expressions"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"ProjectionExpression":"a","ExpressionAttributeNames":{"#a":"a"}}`, validation, "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}"},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"ReturnConsumedCapacity":"ALL"}`, validation, "1 validation error detected: Value 'ALL' at 'returnConsumedCapacity' failed to satisfy constraint: Member must satisfy enum value set: [INDEXES, TOTAL, NONE]"},
		{"PutItem", `{"TableName":"things","Item":{"x":{"S":"a"}}}`, validation, wrong + "Missing the key id in the item"},
		{"PutItem", `{"TableName":"things","Item":{"id":{"N":"1"}}}`, validation, wrong + "Type mismatch for key id expected: S actual: N"},
		{"PutItem", `{"TableName":"things","Item":{"id":{"S":"a"},"x":{"S":"` + big + `"}}}`, validation, "Item size has exceeded the maximum allowed size"},
		{"PutItem", `{"TableName":"things","Item":{"id":{"S":"a"}},"ReturnValues":"ALL_NEW"}`, validation, "Return values set to invalid value"},
		{"PutItem", `{"TableName":"things","Item":{"id":{"S":"a"}},"ConditionExpression":"n = :one","ExpressionAttributeValues":{":one":{"N":"2"}}}`, own + "ConditionalCheckFailedException", "The conditional request failed"},
		{"PutItem", `{"TableName":"things","Item":{"id":{"S":"a"}},"Expected":{"n":{"Exists":false}}}`, own + "ConditionalCheckFailedException", "The conditional request failed"},
		{"PutItem", `{"TableName":"model","Item":{"p":{"S":"a"},"r":{"N":"1"},"g":{"N":"1"}}}`, validation, wrong + "Type mismatch for Index Key g Expected: S Actual: N IndexName: whole"},
		{"UpdateItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"UpdateExpression":"SET id = :x","ExpressionAttributeValues":{":x":{"S":"b"}}}`, validation, wrong + "Cannot update attribute id. This attribute is part of the key"},
		{"UpdateItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"UpdateExpression":"SET x = y"}`, validation, "The provided expression refers to an attribute that does not exist in the item"},
		{"UpdateItem", `{"TableName":"model","Key":{"p":{"S":"a"},"r":{"N":"1"}},"UpdateExpression":"SET h = :h","ExpressionAttributeValues":{":h":{"S":"b"}}}`, validation, wrong + "Type mismatch for Index Key h Expected: N Actual: S IndexName: local"},
		{"Query", `{"TableName":"model"}`, validation, "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."},
		{"Query", `{"TableName":"model","KeyConditionExpression":"r = :r","ExpressionAttributeValues":{":r":{"N":"1"}}}`, validation, "Query condition missed key schema element: p"},
		{"Query", `{"TableName":"model","KeyConditionExpression":"p > :p","ExpressionAttributeValues":{":p":{"S":"1"}}}`, validation, "Query key condition not supported"},
		{"Query", `{"TableName":"model","KeyConditionExpression":"p = :p","ExpressionAttributeValues":{":p":{"N":"1"}}}`, validation, wrong + "Condition parameter type does not match schema type"},
		{"Query", `{"TableName":"model","KeyConditionExpression":"p = :p","FilterExpression":"r = :p","ExpressionAttributeValues":{":p":{"S":"1"}}}`, validation, "Filter Expression can only contain non-primary key attributes: Primary key attribute: r"},
		{"Query", `{"TableName":"model","IndexName":"whole","ConsistentRead":true,"KeyConditionExpression":"g = :p","ExpressionAttributeValues":{":p":{"S":"1"}}}`, validation, "Consistent reads are not supported on global secondary indexes"},
		{"Query", `{"TableName":"model","IndexName":"nope","KeyConditionExpression":"g = :p","ExpressionAttributeValues":{":p":{"S":"1"}}}`, validation, "The table does not have the specified index: nope"},
		{"Query", `{"TableName":"model","IndexName":"part","ProjectionExpression":"y","KeyConditionExpression":"g = :p","ExpressionAttributeValues":{":p":{"S":"1"}}}`, validation, wrong + "Global secondary index part does not project [y]"},
		{"Query", `{"TableName":"model","Limit":0,"KeyConditionExpression":"p = :p","ExpressionAttributeValues":{":p":{"S":"1"}}}`, validation, "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"Scan", `{"TableName":"model","Segment":3}`, validation, "The TotalSegments parameter is required but was not present in the request when Segment parameter is present"},
		{"Scan", `{"TableName":"model","Segment":3,"TotalSegments":3}`, validation, "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 3 is not less than TotalSegments: 3"},
		{"Scan", `{"TableName":"model","ExclusiveStartKey":{"p":{"S":"a"}}}`, validation, "The provided starting key is invalid: The provided key element does not match the schema"},
		{"BatchGetItem", `{"RequestItems":{"things":{"Keys":[{"id":{"S":"a"}},{"id":{"S":"a"}}]}}}`, validation, "Provided list of item keys contains duplicates"},
		{"BatchWriteItem", `{"RequestItems":{"things":[` + strings.Repeat(`{"DeleteRequest":{"Key":{"id":{"S":"a"}}}},`, 25) + `{"DeleteRequest":{"Key":{"id":{"S":"b"}}}}]}}`, validation, "Too many items requested for the BatchWriteItem call"},
		{"TransactWriteItems", `{"TransactItems":[{"Delete":{"TableName":"things","Key":{"id":{"S":"a"}}}},{"Delete":{"TableName":"things","Key":{"id":{"S":"a"}}}}]}`, validation, "Transaction request cannot include multiple operations on one item"},
		{"CreateTable", simpleTable, own + "ResourceInUseException", "Table already exists: things"},
		{"CreateTable", strings.Replace(simpleTable, "things", "ab", 1), validation, "TableName must be at least 3 characters long and at most 255 characters long"},
		{"CreateTable", `{"TableName":"other","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"x","AttributeType":"S"}]}`, validation, wrong + "Some index key attributes are not defined in AttributeDefinitions. Keys: [id], AttributeDefinitions: [x]"},
		{"GetShardIterator", `{"StreamArn":"arn:aws:dynamodb:us-east-1:000000000000:table/things/stream/x","ShardId":"s","ShardIteratorType":"LATEST"}`, own + "ResourceNotFoundException", "Requested resource not found: Stream: arn:aws:dynamodb:us-east-1:000000000000:table/things/stream/x not found"},
	} {
		status, answer := call(a, c.operation, c.body)
		field := "message"
		if strings.Contains(c.kind, "service#") {
			field = "Message"
		}
		want := fmt.Sprintf(`{"__type":%q,%q:%q}`, c.kind, field, c.message)
		if c.message == "" {
			want = fmt.Sprintf(`{"__type":%q}`, c.kind)
		}
		if status != 400 || !sameJSON(answer, want) {
			t.Errorf("%s %.200s:\n got %d %s\nwant %s", c.operation, c.body, status, answer, want)
		}
	}
}

// TestAnswers holds answers against DynamoDB's, one request after the other.
func TestAnswers(t *testing.T) {
	a := open(t)
	must(t, a, "CreateTable", modelTable)
	must(t, a, "CreateTable", simpleTable)
	for _, c := range []struct{ operation, body, want string }{
		{"PutItem", `{"TableName":"things","Item":{"id":{"S":"a"},"n":{"N":"1.0"},"l":{"L":[{"S":"x"}]}},"ReturnConsumedCapacity":"TOTAL"}`, `{"ConsumedCapacity":{"TableName":"things","CapacityUnits":1.0}}`},
		{"PutItem", `{"TableName":"things","Item":{"id":{"S":"a"},"n":{"N":"2"}},"ReturnValues":"ALL_OLD"}`, `{"Attributes":{"id":{"S":"a"},"n":{"N":"1"},"l":{"L":[{"S":"x"}]}}}`},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"b"}},"ReturnConsumedCapacity":"TOTAL"}`, `{"ConsumedCapacity":{"TableName":"things","CapacityUnits":0.5}}`},
		{"GetItem", `{"TableName":"arn:aws:dynamodb:us-east-1:000000000000:table/things","Key":{"id":{"S":"a"}}}`, `{"Item":{"id":{"S":"a"},"n":{"N":"2"}}}`},
		{"UpdateItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"UpdateExpression":"ADD n :n","ExpressionAttributeValues":{":n":{"N":"0.5"}},"ReturnValues":"UPDATED_OLD"}`, `{"Attributes":{"n":{"N":"2"}}}`},
		{"UpdateItem", `{"TableName":"things","Key":{"id":{"S":"a"}},"AttributeUpdates":{"n":{"Action":"ADD","Value":{"N":"1"}},"s":{"Value":{"SS":["x"]}}},"ReturnValues":"ALL_NEW"}`, `{"Attributes":{"id":{"S":"a"},"n":{"N":"3.5"},"s":{"SS":["x"]}}}`},
		{"UpdateItem", `{"TableName":"things","Key":{"id":{"S":"none"}},"UpdateExpression":"REMOVE n","ReturnValues":"ALL_NEW"}`, `{}`},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"none"}}}`, `{}`},
		{"UpdateItem", `{"TableName":"things","Key":{"id":{"S":"new"}}}`, `{}`},
		{"GetItem", `{"TableName":"things","Key":{"id":{"S":"new"}}}`, `{"Item":{"id":{"S":"new"}}}`},
		{"DeleteItem", `{"TableName":"things","Key":{"id":{"S":"new"}},"Expected":{"id":{"Value":{"S":"new"}}},"ReturnValues":"ALL_OLD"}`, `{"Attributes":{"id":{"S":"new"}}}`},
		{"PutItem", `{"TableName":"model","Item":{"p":{"S":"a"},"r":{"N":"1"},"g":{"S":"g"},"h":{"N":"7"},"x":{"S":"y"},"z":{"S":"z"}},"ReturnConsumedCapacity":"INDEXES","ReturnItemCollectionMetrics":"SIZE"}`,
			`{"ConsumedCapacity":{"TableName":"model","CapacityUnits":4.0,"Table":{"CapacityUnits":1.0},"GlobalSecondaryIndexes":{"whole":{"CapacityUnits":1.0},"part":{"CapacityUnits":1.0}},"LocalSecondaryIndexes":{"local":{"CapacityUnits":1.0}}},"ItemCollectionMetrics":{"ItemCollectionKey":{"p":{"S":"a"}},"SizeEstimateRangeGB":[0.0,1.0]}}`},
		{"Query", `{"TableName":"model","IndexName":"part","KeyConditionExpression":"g = :g","ExpressionAttributeValues":{":g":{"S":"g"}}}`, `{"Count":1,"ScannedCount":1,"Items":[{"p":{"S":"a"},"r":{"N":"1"},"g":{"S":"g"},"x":{"S":"y"}}]}`},
		{"Query", `{"TableName":"model","IndexName":"local","KeyConditions":{"p":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"a"}]},"h":{"ComparisonOperator":"GT","AttributeValueList":[{"N":"6"}]}},"AttributesToGet":["z"]}`, `{"Count":1,"ScannedCount":1,"Items":[{"z":{"S":"z"}}]}`},
		{"Query", `{"TableName":"model","Select":"COUNT","KeyConditionExpression":"p = :p","FilterExpression":"x = :p","ExpressionAttributeValues":{":p":{"S":"a"}}}`, `{"Count":0,"ScannedCount":1}`},
		{"Scan", `{"TableName":"model","Limit":1,"ProjectionExpression":"x"}`, `{"Count":1,"ScannedCount":1,"Items":[{"x":{"S":"y"}}],"LastEvaluatedKey":{"p":{"S":"a"},"r":{"N":"1"}}}`},
		{"BatchWriteItem", `{"RequestItems":{"things":[{"PutRequest":{"Item":{"id":{"S":"c"}}}},{"DeleteRequest":{"Key":{"id":{"S":"a"}}}}]}}`, `{"UnprocessedItems":{}}`},
		{"BatchGetItem", `{"RequestItems":{"things":{"Keys":[{"id":{"S":"a"}},{"id":{"S":"c"}}]}},"ReturnConsumedCapacity":"TOTAL"}`, `{"Responses":{"things":[{"id":{"S":"c"}}]},"UnprocessedKeys":{},"ConsumedCapacity":[{"TableName":"things","CapacityUnits":1.0}]}`},
		{"TransactWriteItems", `{"ClientRequestToken":"t1","TransactItems":[{"Update":{"TableName":"things","Key":{"id":{"S":"c"}},"UpdateExpression":"ADD n :n","ExpressionAttributeValues":{":n":{"N":"1"}}}}],"ReturnConsumedCapacity":"TOTAL"}`, `{"ConsumedCapacity":[{"TableName":"things","CapacityUnits":2.0,"WriteCapacityUnits":2.0}]}`},
		{"TransactWriteItems", `{"ClientRequestToken":"t1","TransactItems":[{"Update":{"TableName":"things","Key":{"id":{"S":"c"}},"UpdateExpression":"ADD n :n","ExpressionAttributeValues":{":n":{"N":"1"}}}}]}`, `{}`},
		{"TransactGetItems", `{"TransactItems":[{"Get":{"TableName":"things","Key":{"id":{"S":"c"}}}},{"Get":{"TableName":"things","Key":{"id":{"S":"zz"}}}}]}`, `{"Responses":[{"Item":{"id":{"S":"c"},"n":{"N":"1"}}},{}]}`},
		{"ListTables", `{"Limit":1}`, `{"TableNames":["model"],"LastEvaluatedTableName":"model"}`},
		{"UpdateTimeToLive", `{"TableName":"things","TimeToLiveSpecification":{"AttributeName":"t","Enabled":true}}`, `{"TimeToLiveSpecification":{"AttributeName":"t","Enabled":true}}`},
		{"TagResource", `{"ResourceArn":"arn:aws:dynamodb:us-east-1:000000000000:table/things","Tags":[{"Key":"k","Value":"v"}]}`, ``},
		{"ListTagsOfResource", `{"ResourceArn":"arn:aws:dynamodb:us-east-1:000000000000:table/things"}`, `{"Tags":[{"Key":"k","Value":"v"}]}`},
		{"UntagResource", `{"ResourceArn":"arn:aws:dynamodb:us-east-1:000000000000:table/things","TagKeys":["k"]}`, ``},
	} {
		status, answer := call(a, c.operation, c.body)
		if status != 200 || answer != c.want && !sameJSON(answer, c.want) {
			t.Errorf("%s %s:\n got %d %s\nwant %s", c.operation, c.body, status, answer, c.want)
		}
	}
	_, answer := call(a, "TransactWriteItems", `{"ClientRequestToken":"t1","TransactItems":[{"Delete":{"TableName":"things","Key":{"id":{"S":"c"}}}}]}`)
	if !strings.Contains(answer, own+"IdempotentParameterMismatchException") {
		t.Errorf("another request with the same token: %s", answer)
	}
	_, answer = call(a, "TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"things","Item":{"id":{"S":"q"}}}},{"ConditionCheck":{"TableName":"things","Key":{"id":{"S":"c"}},"ConditionExpression":"n > :n",
		"ExpressionAttributeValues":{":n":{"N":"5"}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}}]}`)
	if want := `{"__type":"` + own + `TransactionCanceledException","CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed","Item":{"id":{"S":"c"},"n":{"N":"1"}},"Message":"The conditional request failed"}],` +
		`"Message":"Transaction cancelled, please refer cancellation reasons for specific reasons [None, ConditionalCheckFailed]"}`; !sameJSON(answer, want) {
		t.Errorf("cancelled: %s", answer)
	}
	if answer := must(t, a, "GetItem", `{"TableName":"things","Key":{"id":{"S":"q"}}}`); answer != "{}" {
		t.Errorf("a cancelled transaction wrote %s", answer)
	}
}

// FuzzAnswer wants the answer to any body to be a documented error, and never one of the server.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"TableName":"things","Key":{"id":{"S":"a"}}}`, `{"TableName":"model","KeyConditionExpression":"p = :p AND begins_with(r, :p)","ExpressionAttributeValues":{":p":{"S":"1"}}}`,
		`{"TransactItems":[{"Put":{"TableName":"things","Item":{"id":{"S":"a"}}}}]}`, `{"RequestItems":{"things":[{"PutRequest":{"Item":{"id":{"S":"c"}}}}]}}`, simpleTable, modelTable} {
		f.Add(s)
	}
	a := open(f)
	must(f, a, "CreateTable", modelTable)
	must(f, a, "CreateTable", simpleTable)
	f.Fuzz(func(t *testing.T, body string) {
		for _, operation := range []string{"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems",
			"DescribeTable", "UpdateTable", "ListTables", "TagResource", "UpdateTimeToLive", "GetShardIterator", "GetRecords", "DescribeStream", "ListStreams"} {
			if status, answer := call(a, operation, body); status >= 500 {
				t.Errorf("%s %q: %d %s", operation, body, status, answer)
			}
		}
	})
}
