// Package cache is an in-memory cache behind the Redis protocol: what an application reaches with any Redis client.
//
// New checks a Config, Listen binds its address, Run serves until its context ends and then leaves nothing running.
//
// What it promises: commands answer as Redis 7 answers them, errors included, and one that this server does not have is an
// unknown command, as it would be there. Each command, and each transaction, is carried out whole before or after any
// other. Memory is kept within its budget, and what has to go is told by policy.TinyLFU. What a client can make the server
// keep for it is bounded: commands, answers that it does not read, connections.
//
// With Config.Cluster it is a node of a cluster: package cluster says who owns which slot, and the sharding_*.go files answer by
// that (route), hand slots over (move), have replicas follow (copies, follow), come back with what was kept on disk (keep), answer for
// hot keys of others (hot) and have each key loaded by its own node (origin).
//
// What it never does: it is not durable, unless it is told to keep a file.
//
// A connection belongs to one of a few event loops, which read, parse and write side by side. Commands are carried out
// under one lock: they take a few hundred nanoseconds, where the system calls around them take microseconds, so that one
// lock is what several cores can share, and every command of Redis keeps its meaning. The commands are listed in one table
// (table.go), which also answers COMMAND; keyspace holds the data, resp speaks the protocol.
package cache
