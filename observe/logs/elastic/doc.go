// Package elastic speaks the part of Elasticsearch's HTTP API that shippers of logs and readers of them use, in front of logs.Logs.
//
// Filebeat, Logstash, Fluent Bit and the official clients find what they look for when they connect (GET /, _license, _ilm,
// templates, _cluster/health), store documents with _bulk and _doc, and search them with _search, _msearch and _count: match,
// match_phrase, multi_match, term, terms, range, exists, prefix, wildcard, regexp, ids, bool, query_string and simple_query_string;
// sort by @timestamp; the aggregations date_histogram, terms, filter, avg, sum, min, max, stats, value_count.
//
// What it promises: a document whose item of a _bulk has status 201 is on disk. What it does not know answers status 400 and says so.
//
// What it never does: score, change or delete documents, map types (every field is a string that can be compared as a number), tell two
// documents with one _id apart from two documents. The index of a document is its label "index".
package elastic
