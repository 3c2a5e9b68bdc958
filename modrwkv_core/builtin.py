"""What the core brings itself, registered through the same hooks that every plugin uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modrwkv_core.plugin import CommandSpec, ComponentSpec, ModalitySpec, PresetSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the components of the core."""
    return [
        ComponentSpec(
            api=1,
            kind="backbone",
            name="rwkv7",
            summary="RWKV-7: a recurrent language model with constant-size state",
            config="modrwkv_core.backbones.rwkv7.config:RWKV7Config",
            implementation="modrwkv_core.backbones.rwkv7.model:RWKV7",
            paper="RWKV-7 'Goose' with Expressive Dynamic State Evolution, arXiv 2503.14456",
        ),
        ComponentSpec(
            api=1,
            kind="head",
            name="lm",
            summary="next token, by the backbone's own output projection",
            config="modrwkv_core.heads.config:LanguageModelConfig",
            implementation="modrwkv_core.heads.lm:LanguageModelHead",
        ),
        ComponentSpec(
            api=1,
            kind="head",
            name="forecast",
            summary="the next points of a series, in the units of the input",
            config="modrwkv_core.heads.config:ForecastConfig",
            implementation="modrwkv_core.heads.forecast:ForecastHead",
            paper="instance normalization: RevIN, Kim et al., ICLR 2022",
        ),
        ComponentSpec(
            api=1,
            kind="head",
            name="ctc",
            summary="the words of a medium, aligned with its vectors (connectionist temporal classification)",
            config="modrwkv_core.heads.config:CtcConfig",
            implementation="modrwkv_core.heads.ctc:CtcHead",
            paper="Connectionist Temporal Classification, Graves et al., ICML 2006",
        ),
        ComponentSpec(
            api=1,
            kind="tokenizer",
            name="world",
            summary="the RWKV World vocabulary, 65,529 entries, greedy longest match",
            config="modrwkv_core.data.tokenizers.config:WorldConfig",
            implementation="modrwkv_core.data.tokenizers.world:WorldTokenizer",
        ),
        ComponentSpec(
            api=1,
            kind="tokenizer",
            name="bytes",
            summary="one id for each byte, for small models",
            config="modrwkv_core.data.tokenizers.config:BytesConfig",
            implementation="modrwkv_core.data.tokenizers.bytes:BytesTokenizer",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="chat",
            summary="conversations in JSON Lines with OpenAI-style content parts",
            config="modrwkv_core.data.sources.config:ChatConfig",
            implementation="modrwkv_core.data.sources.chat:ChatSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="llava",
            summary="LLaVA's conversations format as it is published",
            config="modrwkv_core.data.sources.config:LlavaConfig",
            implementation="modrwkv_core.data.sources.llava:LlavaSource",
            paper="Visual Instruction Tuning, arXiv 2304.08485",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="labeled_audio",
            summary="audio files with a text each, listed in TSV or JSON Lines",
            config="modrwkv_core.data.sources.config:LabeledAudioConfig",
            implementation="modrwkv_core.data.sources.labeled_audio:LabeledAudioSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="labeled_features",
            summary="feature arrays with a text each, listed in TSV, CSV or JSON Lines",
            config="modrwkv_core.data.sources.config:LabeledFeaturesConfig",
            implementation="modrwkv_core.data.sources.labeled_features:LabeledFeaturesSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="webdataset",
            summary="samples in WebDataset shards, in any order, without unpacking",
            config="modrwkv_core.data.sources.config:WebDatasetConfig",
            implementation="modrwkv_core.data.sources.webdataset:WebDatasetSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="text",
            summary="plain texts: lines, articles or the whole of a file, or JSON Lines",
            config="modrwkv_core.data.sources.config:TextConfig",
            implementation="modrwkv_core.data.sources.text:TextSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="csv_windows",
            summary="windows of the columns of a CSV or Parquet file, for forecasting",
            config="modrwkv_core.data.sources.config:CsvWindowsConfig",
            implementation="modrwkv_core.data.sources.csv_windows:CsvWindowsSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="synthetic_series",
            summary="series drawn from Gaussian processes of random kernels, to pre-train forecasts on",
            config="modrwkv_core.data.sources.config:SyntheticSeriesConfig",
            implementation="modrwkv_core.data.sources.synthetic_series:SyntheticSeriesSource",
            paper="KernelSynth of Chronos, Ansari et al., arXiv 2403.07815",
        ),
        ComponentSpec(
            api=1,
            kind="task",
            name="exact_match",
            summary="answers to held-out questions, scored by exact match",
            config="modrwkv_core.evaluation.config:ExactMatchConfig",
            implementation="modrwkv_core.evaluation.exact_match:ExactMatchTask",
        ),
        ComponentSpec(
            api=1,
            kind="task",
            name="forecast",
            summary="continuations of held-out series, scored by mean squared and absolute error",
            config="modrwkv_core.evaluation.config:ForecastTaskConfig",
            implementation="modrwkv_core.evaluation.forecast:ForecastTask",
        ),
        ComponentSpec(
            api=1,
            kind="task",
            name="multiple_choice",
            summary="the likeliest of each question's choices",
            config="modrwkv_core.evaluation.config:MultipleChoiceConfig",
            implementation="modrwkv_core.evaluation.multiple_choice:MultipleChoiceTask",
        ),
        ComponentSpec(
            api=1,
            kind="task",
            name="perplexity",
            summary="how likely held-out texts are, such as WikiText's, or their last words, as in LAMBADA",
            config="modrwkv_core.evaluation.config:PerplexityTaskConfig",
            implementation="modrwkv_core.evaluation.perplexity:PerplexityTask",
        ),
        ComponentSpec(
            api=1,
            kind="task",
            name="recall",
            summary="answers about streams, scored by exact match and by how long ago the answer was shown",
            config="modrwkv_core.evaluation.config:RecallConfig",
            implementation="modrwkv_core.evaluation.recall:RecallTask",
        ),
        ComponentSpec(
            api=1,
            kind="optimizer",
            name="adamw",
            summary="AdamW",
            config="modrwkv_core.training.config:AdamWConfig",
            implementation="modrwkv_core.training.adamw:AdamW",
            paper="Decoupled Weight Decay Regularization, Loshchilov & Hutter, ICLR 2019",
        ),
        ComponentSpec(
            kind="scheduler",
            name="cosine",
            summary="linear warm-up, then half a cosine",
            config="modrwkv_core.training.config:CosineConfig",
            implementation="modrwkv_core.training.cosine:CosineScheduler",
            paper="SGDR, Loshchilov & Hutter, ICLR 2017",
            api=1,
        ),
        ComponentSpec(
            api=1,
            kind="optimizer",
            name="muon",
            summary="Muon for hidden matrices, AdamW for all other parameters",
            config="modrwkv_core.training.config:MuonConfig",
            implementation="modrwkv_core.training.muon:Muon",
            paper="Muon, Jordan et al., 2024; scaled as in Muon is Scalable for LLM Training, arXiv 2502.16982",
        ),
        ComponentSpec(
            api=1,
            kind="scheduler",
            name="constant",
            summary="linear warm-up, then constant",
            config="modrwkv_core.training.config:ConstantConfig",
            implementation="modrwkv_core.training.constant:ConstantScheduler",
        ),
        ComponentSpec(
            api=1,
            kind="scheduler",
            name="wsd",
            summary="linear warm-up, constant, and a decay at the end",
            config="modrwkv_core.training.config:WSDConfig",
            implementation="modrwkv_core.training.wsd:WSDScheduler",
            paper="MiniCPM, arXiv 2404.06395",
        ),
        ComponentSpec(
            api=1,
            kind="finetuning",
            name="state",
            summary="of the backbone only the state that it begins with learns",
            config="modrwkv_core.training.config:StateConfig",
            implementation="modrwkv_core.training.state:StateFinetuning",
        ),
        ComponentSpec(
            kind="finetuning",
            name="full",
            summary="all parameters of the trained parts learn",
            config="modrwkv_core.training.config:FullConfig",
            implementation="modrwkv_core.training.full:FullFinetuning",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="jitter",
            summary="normal noise on each point of a series",
            config="modrwkv_core.augmentations.config:JitterConfig",
            implementation="modrwkv_core.augmentations.series:Jitter",
            modality="series",
            paper="Um et al., ICMI 2017, arXiv 1706.00527",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="scaling",
            summary="a series and its targets times a random factor",
            config="modrwkv_core.augmentations.config:ScalingConfig",
            implementation="modrwkv_core.augmentations.series:Scaling",
            modality="series",
            paper="Um et al., ICMI 2017, arXiv 1706.00527",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="flip",
            summary="a series and its targets times -1",
            config="modrwkv_core.augmentations.config:FlipConfig",
            implementation="modrwkv_core.augmentations.series:Flip",
            modality="series",
            paper="Iwana & Uchida, PLOS ONE 16(7), 2021",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="tsmix",
            summary="a weighted mean of a series and others of its source, with their targets",
            config="modrwkv_core.augmentations.config:TSMixConfig",
            implementation="modrwkv_core.augmentations.series:TSMix",
            modality="series",
            paper="TSMixup of Chronos, Ansari et al., arXiv 2403.07815",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="window_mask",
            summary="windows of a series replaced by its mean",
            config="modrwkv_core.augmentations.config:WindowMaskConfig",
            implementation="modrwkv_core.augmentations.series:WindowMask",
            modality="series",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="feature_mask",
            summary="stretches of an encoder's features, and of their channels, set to zero",
            config="modrwkv_core.augmentations.config:FeatureMaskConfig",
            implementation="modrwkv_core.augmentations.features:FeatureMask",
            paper="SpecAugment, arXiv 1904.08779, on features as in wav2vec 2.0, arXiv 2006.11477",
            api=1,
        ),
        ComponentSpec(
            kind="augmentation",
            name="feature_dropout",
            summary="single values of an encoder's features set to zero",
            config="modrwkv_core.augmentations.config:FeatureDropoutConfig",
            implementation="modrwkv_core.augmentations.features:FeatureDropout",
            paper="Dropout, Srivastava et al., JMLR 2014",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="exact_match",
            summary="share of answers that equal a true one, after a normalization of both",
            config="modrwkv_core.evaluation.config:ExactMatchMetricConfig",
            implementation="modrwkv_core.evaluation.answer_metrics:ExactMatch",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="vqa_accuracy",
            summary="soft accuracy of VQA v2 over the answers of ten annotators",
            config="modrwkv_core.evaluation.config:VqaAccuracyConfig",
            implementation="modrwkv_core.evaluation.answer_metrics:VqaAccuracy",
            paper="VQA, Antol et al., ICCV 2015",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="pope",
            summary="F1, precision, recall, accuracy or share of yes of POPE's yes-or-no questions",
            config="modrwkv_core.evaluation.config:PopeConfig",
            implementation="modrwkv_core.evaluation.answer_metrics:Pope",
            paper="POPE, arXiv 2305.10355",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="wer",
            summary="word error rate of transcripts, by jiwer",
            config="modrwkv_core.evaluation.config:WordErrorRateConfig",
            implementation="modrwkv_core.evaluation.speech_metrics:WordErrorRate",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="cer",
            summary="character error rate of transcripts, by jiwer",
            config="modrwkv_core.evaluation.config:CharacterErrorRateConfig",
            implementation="modrwkv_core.evaluation.speech_metrics:CharacterErrorRate",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="perplexity",
            summary="perplexity of true texts, by words or tokens",
            config="modrwkv_core.evaluation.config:PerplexityConfig",
            implementation="modrwkv_core.evaluation.likelihood_metrics:Perplexity",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="bits_per_byte",
            summary="bits that the model takes for a byte of true texts",
            config="modrwkv_core.evaluation.config:BitsPerByteConfig",
            implementation="modrwkv_core.evaluation.likelihood_metrics:BitsPerByte",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="greedy_match",
            summary="share of true texts that greedy decoding gives, LAMBADA's accuracy",
            config="modrwkv_core.evaluation.config:GreedyMatchConfig",
            implementation="modrwkv_core.evaluation.likelihood_metrics:GreedyMatch",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="mse",
            summary="mean squared error of arrays",
            config="modrwkv_core.evaluation.config:MeanSquaredErrorConfig",
            implementation="modrwkv_core.evaluation.metrics:MeanSquaredError",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="mae",
            summary="mean absolute error of arrays",
            config="modrwkv_core.evaluation.config:MeanAbsoluteErrorConfig",
            implementation="modrwkv_core.evaluation.metrics:MeanAbsoluteError",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="mase",
            summary="mean absolute error in units of the series' own seasonal differences",
            config="modrwkv_core.evaluation.config:MeanAbsoluteScaledErrorConfig",
            implementation="modrwkv_core.evaluation.metrics:MeanAbsoluteScaledError",
            paper="Hyndman & Koehler, International Journal of Forecasting 22, 2006",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="crps",
            summary="continuous ranked probability score of a forecast's quantiles",
            config="modrwkv_core.evaluation.config:ContinuousRankedProbabilityScoreConfig",
            implementation="modrwkv_core.evaluation.quantile_metrics:ContinuousRankedProbabilityScore",
            paper="Gneiting & Raftery, JASA 102, 2007",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="wql",
            summary="weighted quantile loss of forecasts",
            config="modrwkv_core.evaluation.config:WeightedQuantileLossConfig",
            implementation="modrwkv_core.evaluation.quantile_metrics:WeightedQuantileLoss",
            api=1,
        ),
        ComponentSpec(
            kind="metric",
            name="coverage",
            summary="share of true values within an interval of the forecast",
            config="modrwkv_core.evaluation.config:CoverageConfig",
            implementation="modrwkv_core.evaluation.quantile_metrics:Coverage",
            api=1,
        ),
    ]


@hookimpl
def modrwkv_modalities() -> list[ModalitySpec]:
    """Return image, audio, series and features."""
    return [
        ModalitySpec(
            api=1,
            name="image",
            summary="images",
            implementation="modrwkv_core.modalities.image:ImageModality",
            suffixes=(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        ),
        ModalitySpec(
            api=1,
            name="audio",
            summary="recordings",
            implementation="modrwkv_core.modalities.audio:AudioModality",
            suffixes=(".wav", ".flac", ".mp3", ".ogg", ".opus"),
        ),
        ModalitySpec(
            api=1,
            name="series",
            summary="measurements at equal time steps",
            implementation="modrwkv_core.modalities.series:SeriesModality",
            suffixes=(".csv", ".npy", ".parquet"),
        ),
        ModalitySpec(
            api=1,
            name="features",
            summary="ready-made feature arrays",
            implementation="modrwkv_core.modalities.features:FeaturesModality",
            suffixes=(".npy", ".npz"),
        ),
    ]


@hookimpl
def modrwkv_presets() -> list[PresetSpec]:
    """Return the sizes of the released backbones, and the paper's recipe."""
    return [
        PresetSpec(api=1, name=name, summary=summary, resource=f"modrwkv_core.presets:{name}.yaml")
        for name, summary in (
            ("rwkv7-0b1", "sizes of the released RWKV-7 0.1B, World tokenizer"),
            ("rwkv7-0b4", "sizes of the released RWKV-7 0.4B, World tokenizer"),
            ("rwkv7-1b5", "sizes of the released RWKV-7 1.5B, World tokenizer"),
            ("rwkv7-2b9", "sizes of the released RWKV-7 2.9B, World tokenizer"),
            ("two-phase", "the paper's recipe: adapter first, then adapter and backbone"),
        )
    ]


@hookimpl
def modrwkv_commands() -> list[CommandSpec]:
    """Return the commands of the core."""
    return [
        CommandSpec(api=1, name=name, summary=summary, command=f"modrwkv_core.cli.{name}:{name}")
        for name, summary in (
            ("plugins", "list, inspect and diagnose what is installed; write and check plugins"),
            ("check", "validate a manifest and its wiring, without weights"),
            ("show", "print the resolved manifest with where each value came from"),
            ("schema", "write the manifest's JSON Schema for editors"),
            ("train", "run the phases of a manifest"),
            ("evaluate", "evaluate a trained run on its tasks and write a report"),
            ("compare", "say which differences between evaluated runs are significant"),
            ("report", "write the report of a run, also while it trains"),
            ("sweep", "compare settings of a manifest, seed by seed"),
            ("generate", "ask a trained run about text, images, sounds, series"),
            ("chat", "talk with a trained run, in turns"),
            ("forecast", "continue a series"),
            ("serve", "answer requests over HTTP, by OpenAI's protocol"),
            ("transcribe", "write what is said in a recording of any length"),
            ("convert", "rewrite RWKV-7 weights in another layout, or import pretrained models"),
            ("export", "write a run's language model for llama.cpp or transformers"),
            ("pull", "fetch a run from the Hugging Face Hub"),
            ("push", "publish a run on the Hugging Face Hub"),
            ("bench", "measure speed, next to baselines and the machine's limits"),
            ("doctor", "what this machine can do: kernels, versions, plugins"),
        )
    ]


@hookimpl
def modrwkv_run_started(run: Path) -> None:
    """Write ``metrics.csv`` anew: a resumed run has dropped the steps that it repeats."""
    from modrwkv_core.training.csv_log import write_csv

    write_csv(run)


@hookimpl
def modrwkv_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Write the metrics to the run's ``metrics.jsonl`` and ``metrics.csv``."""
    from modrwkv_core.training.csv_log import append_csv
    from modrwkv_core.training.loggers import append_metrics

    append_metrics(run, step, metrics)
    append_csv(run, step, metrics)
