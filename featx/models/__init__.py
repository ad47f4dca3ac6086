"""The best head back to Keras: conversion to trainable layers that answer the same."""
