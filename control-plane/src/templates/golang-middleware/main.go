// Entry of Go functions: serves function.Handle, which import.go (made for each build) hands over.
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var handle http.HandlerFunc

const defaultTimeout = 10 * time.Second

func main() {
	http.HandleFunc("/", handle)
	health := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/_/health" || r.URL.Path == "/_/ready" {
				health(w, r)
				return
			}
			http.DefaultServeMux.ServeHTTP(w, r)
		}),
		ReadTimeout:    timeout("read_timeout"),
		WriteTimeout:   timeout("write_timeout"),
		IdleTimeout:    24 * time.Hour, // the platform closes the connections it keeps
		MaxHeaderBytes: 1 << 20,
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port()))
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		<-asked
		if err := server.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
		close(ended)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-ended
}

func port() string {
	for _, name := range []string{"PORT", "http_port"} {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return "8082"
}

// timeout reads whole seconds or a duration such as 1m30s.
func timeout(name string) time.Duration {
	value := os.Getenv(name)
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second
	}
	if duration, err := time.ParseDuration(value); err == nil {
		return duration
	}
	return defaultTimeout
}
