"""Recurrent sentiment classifiers: from labelled text to tensors, to a model, to metrics.

The modules, in the order in which the data meets them; each imports only from the lines above it::

    errors                           a user's mistake
    files                            outputs that appear whole or not at all
    archive, web                     archives from elsewhere, read within limits; servers, waited for within limits
    corpus                           reviews in one Parquet file
    split                            which reviews are held out
    fetch, sample, imdb, own         where reviews and vectors come from
    pieces                           pieces of text, cut as spaCy cuts them
    tokens, vectors                  spaCy tokens; rows of a GloVe file         (no torch so far)
    coverage                         why words of a text have no vector
    encoded                          ragged token ids and labels
    resume                           what a training that was broken off goes on from
    ragged                           the same, from Arrow's lists into tensors and files
    vocabulary                       torchtext's vocabulary: tokens to ids, and the embedding matrix
    batches                          padded batches of like length
    precision                        what is computed in which dtype
    recurrent                        recurrent layers that read padded reviews exactly
    model                            the classifier
    behaviour                        short texts of one capability each
    checkpoint, predict              its weights, configuration and vocabulary on disk; its logits of reviews
    gradients                        what reaches each time step and each token
    device, processes                the processor or GPU and its habits; several of them at one model
    objective                        what training minimises
    schedule                         how a learning rate rises and falls
    language                         language models for a classifier to start from
    train, temperature               the training loop; how sure its model may be
    baseline, metrics                the linear model to beat; figures and curves
    figures                          the curves drawn
    report                           one page that shows them

Letters in the shapes of tensors, everywhere:

    N reviews, M tokens of all reviews together, B reviews in a batch, T time steps (the longest review of a
    batch), V vocabulary, E embedding, H hidden, L layers, D directions (1 or 2)
"""
