package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import org.json.JSONException
import org.json.JSONObject

/** kerascnn.json, in which every number that is used later is looked at. */
internal object DescriptionReader {
    private const val FORMAT = 1
    private const val LARGEST_SIDE = 4096
    private const val MOST_ANCHORS = 1_000_000L
    private const val SOFT_NMS_SIGMA = 0.5 // arXiv:1704.04503
    private const val RAW = "raw bytes"
    private const val NORMALISED = "(byte - mean) / std"
    private val KINDS = mapOf(
        Task.CLASSIFICATION to setOf("logits", "probabilities"),
        Task.MULTILABEL to setOf("sigmoid", "scores"),
        Task.DETECTION to setOf("detections", "codes"),
        Task.SEGMENTATION to setOf("map", "map_logits"),
    )

    fun read(json: ByteArray): ModelDescription {
        val fields = Fields(parsed(json), "")
        val format = fields.whole("format", 1..Int.MAX_VALUE)
        if (format > FORMAT) {
            throw ModelProblem(ModelProblem.Kind.NEWER_FORMAT, format.toString())
        }
        val taskName = fields.text("task")
        val task = Task.entries.find { it.name.lowercase() == taskName }
            ?: throw ModelProblem(ModelProblem.Kind.UNKNOWN_TASK, taskName)
        val labels = fields.list("labels") { it as? String }
        // A byte a pixel, of which one is for what does not count.
        fields.demand(task != Task.SEGMENTATION || labels.size <= Answer.ClassMap.VOID, "labels")
        val input = input(fields.inside("input"), task)
        return ModelDescription(
            task = task,
            model = fields.textOr("model"),
            variant = fields.textOr("variant"),
            name = fields.textOr("name"),
            description = fields.textOr("description"),
            author = fields.textOr("author"),
            license = fields.textOr("license"),
            version = fields.textOr("version"),
            labels = labels,
            input = input,
            outputs = outputs(fields),
            decoding = decoding(fields.inside("decoding"), task, labels.size),
            selfTest = SelfTestReader.read(fields),
        )
    }

    private fun parsed(json: ByteArray): JSONObject = try {
        // A decoder reports what is no UTF-8; String(bytes) would not.
        JSONObject(Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(json)).toString())
    } catch (error: CharacterCodingException) {
        throw broken("kerascnn.json", error)
    } catch (error: JSONException) {
        throw broken("kerascnn.json", error)
    } catch (error: StackOverflowError) { // thousands of brackets
        throw broken("kerascnn.json", error)
    }

    private fun input(fields: Fields, task: Task): InputSpec {
        val channels = fields.whole("channels", 1..3).also { fields.demand(it != 2, "channels") }
        val type = when (fields.text("type")) {
            "float32" -> NumberType.FLOAT32
            "uint8" -> NumberType.UINT8
            else -> throw broken("input.type")
        }
        val raw = fields.choice("values", RAW to true, NORMALISED to false)
        fields.demand(raw || type == NumberType.FLOAT32, "values")
        val resize = fields.choice(
            "resize",
            "stretch" to Resize.STRETCH,
            "pad" to Resize.PAD,
            "crop" to Resize.CROP,
            "centre" to Resize.CENTRE,
            "letterbox" to Resize.LETTERBOX,
            missing = Resize.STRETCH,
        )
        // What lies outside of a cropped picture would never be found.
        val whole = resize != Resize.CROP && resize != Resize.CENTRE
        val ofWhole = task == Task.CLASSIFICATION || task == Task.MULTILABEL
        fields.demand(whole || ofWhole, "resize")
        return InputSpec(
            name = fields.textOr("name"),
            height = fields.whole("height", 1..LARGEST_SIDE),
            width = fields.whole("width", 1..LARGEST_SIDE),
            channels = channels,
            type = type,
            raw = raw,
            mean = if (raw) emptyList() else fields.perChannel("mean", channels) { true },
            std = if (raw) emptyList() else fields.perChannel("std", channels) { it > 0 },
            reversed = fields.choice("order", "rgb" to false, "bgr" to true, missing = false),
            resize = resize,
            cropFraction = fields.numberOr("crop_fraction", 0.875) { it > 0 && it <= 1 },
            interpolation = fields.choice(
                "interpolation",
                "bilinear" to Interpolation.BILINEAR,
                "bicubic" to Interpolation.BICUBIC,
                missing = Interpolation.BILINEAR,
            ),
        )
    }

    private fun Fields.perChannel(
        name: String,
        channels: Int,
        fine: (Float) -> Boolean,
    ): List<Float> {
        val numbers = if (isNumber(name)) {
            List(channels) { number(name) { true }.toFloat() }
        } else {
            list(name) { finite(it)?.toFloat() }
        }
        demand(numbers.size == channels && numbers.all { it.isFinite() && fine(it) }, name)
        return numbers
    }

    private fun outputs(fields: Fields): List<OutputSpec> {
        if (!fields.has("outputs")) return emptyList()
        return fields.objects("outputs").map {
            OutputSpec(it.text("name"), it.textOr("tensor").ifEmpty { null }, it.textOr("meaning"))
        }
    }

    private fun decoding(fields: Fields, task: Task, classes: Int): Decoding {
        val kind = fields.text("kind")
        fields.demand(kind in KINDS.getValue(task), "kind")
        return when (kind) {
            "logits" -> Decoding.Logits
            "sigmoid" -> Decoding.Sigmoid(fields.number("threshold") { it in 0.0..1.0 }.toFloat())
            "probabilities" -> Decoding.Probabilities
            "scores" -> Decoding.Scores(fields.number("threshold") { it in 0.0..1.0 }.toFloat())
            "detections" -> Decoding.Detections
            "codes" -> Decoding.Codes(detector(fields))
            "map" -> Decoding.ClassMap(palette(fields, classes))
            else -> Decoding.MapLogits(palette(fields, classes))
        }
    }

    private fun detector(fields: Fields): DetectorSpec {
        val levels = fields.inside("anchors").objects("levels").map(::level)
        fields.demand(levels.isNotEmpty() && levels.sumOf { it.count } <= MOST_ANCHORS, "anchors")
        val scales = fields.list("box_scales") { finite(it)?.toFloat() }
        fields.demand(scales.size == 4 && scales.all { it > 0 && it.isFinite() }, "box_scales")
        val share = { value: Double -> value > 0 && value <= 1 }
        return DetectorSpec(
            levels = levels,
            boxScales = scales,
            background = fields.flag("background"),
            scoreThreshold = fields.number("score_threshold", share).toFloat(),
            iouThreshold = fields.number("iou_threshold", share).toFloat(),
            maxDetections = fields.whole("max_detections", 1..Int.MAX_VALUE),
            candidates = fields.whole("candidates", 1..Int.MAX_VALUE),
            softNmsSigma = softNmsSigma(fields),
            classAgnostic = fields.has("class_agnostic") && fields.flag("class_agnostic"),
        )
    }

    private fun softNmsSigma(fields: Fields): Float? {
        val soft = fields.choice("suppression", "hard" to false, "soft" to true, missing = false)
        val sigma = fields.numberOr("soft_nms_sigma", SOFT_NMS_SIGMA) {
            it > 0 && it.isFinite() && it.toFloat() > 0
        }
        return if (soft) sigma.toFloat() else null
    }

    private fun level(fields: Fields): AnchorLevel {
        val sizes = fields.pairs("sizes")
        fields.demand(sizes.isNotEmpty() && sizes.all { it.first > 0 && it.second > 0 }, "sizes")
        return AnchorLevel(
            rows = fields.whole("rows", 1..LARGEST_SIDE),
            columns = fields.whole("columns", 1..LARGEST_SIDE),
            sizes = sizes,
            offset = fields.numberOr("offset", 0.5) { it in 0.0..1.0 },
        )
    }

    private fun palette(fields: Fields, classes: Int): IntArray? {
        if (!fields.has("palette")) return null
        val colours = fields.colours("palette")
        fields.demand(colours.size == classes, "palette")
        return colours.toIntArray()
    }

    internal fun broken(field: String, cause: Throwable? = null) =
        ModelProblem(ModelProblem.Kind.BROKEN, field, cause)
}
