// Package rediscluster is the cluster as the Redis endpoint of one node sees
// it.
//
// A command on keys goes through the dispatcher to its owner (Cluster.Do). What
// concerns all keys, as SCAN and FLUSHALL, asks each partition at its owner
// (sweep.go). WAIT asks the owner of each partition that was written to for the
// copies that it has brought elsewhere (wait.go). Who owns what is the view's
// (Cluster.Topology); messages are package pubsub's.
package rediscluster
