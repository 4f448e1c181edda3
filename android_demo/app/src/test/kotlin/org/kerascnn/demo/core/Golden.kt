package org.kerascnn.demo.core

import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals

/**
 * What Python answers; tests/android_golden.py writes it.
 *
 * Some of it lies among the resources; -Dkerascnn.golden=FOLDER has all.
 */
object Golden {
    const val EXACT = 1e-5f

    private val told: JSONObject by lazy {
        val folder = System.getProperty("kerascnn.golden").orEmpty()
        val text = if (folder.isEmpty()) {
            checkNotNull(Golden::class.java.getResource("/golden.json")).readText()
        } else {
            File(folder, "golden.json").readText()
        }
        JSONObject(text)
    }

    /** Do something for each case of a kind, of which there must be some. */
    fun each(kind: String, check: (JSONObject) -> Unit) {
        val cases = told.getJSONArray(kind)
        check(cases.length() > 0) { "no cases of $kind" }
        for (at in 0 until cases.length()) check(cases.getJSONObject(at))
    }

    fun one(kind: String): JSONObject = told.getJSONObject(kind)
}

/** An array as web_golden.coded writes it. */
class Coded(json: JSONObject) {
    val shape = json.getJSONArray("shape").ints()
    private val type: String = json.getString("type")
    private val data = ByteBuffer.wrap(Base64.getDecoder().decode(json.getString("data")))
        .order(ByteOrder.LITTLE_ENDIAN)

    fun bytes(): ByteArray {
        check(type == "uint8")
        return data.array()
    }

    fun floats(): FloatArray = FloatArray(shape.fold(1, Int::times)) { at ->
        when (type) {
            "float32" -> data.getFloat(4 * at)
            "int32" -> data.getInt(4 * at).toFloat()
            "uint8" -> (data.get(at).toInt() and 0xff).toFloat()
            else -> error(type)
        }
    }

    fun ints(): List<Int> = floats().map { it.toInt() }

    fun output() = Output(shape, floats())

    /** A (height, width, channels) picture. */
    internal fun raster(): Raster = Raster(shape[1], shape[0], shape[2], bytes())

    /** The same for the app: grey as three equal channels. */
    fun picture(): Picture {
        val (bytes, channels) = bytes() to shape[2]
        val pixels = IntArray(shape[0] * shape[1]) { at ->
            (0 until 3).fold(0) { colour, channel ->
                val from = at * channels + if (channels == 3) channel else 0
                colour shl 8 or (bytes[from].toInt() and 0xff)
            }
        }
        return Picture(shape[1], shape[0], pixels)
    }
}

fun JSONObject.coded(name: String) = Coded(getJSONObject(name))

fun JSONArray.ints(): IntArray = IntArray(length()) { getInt(it) }

fun JSONArray.floats(): FloatArray = FloatArray(length()) { getDouble(it).toFloat() }

fun JSONArray.rows(): List<FloatArray> = List(length()) { getJSONArray(it).floats() }

/** Files around a description, as Python writes them. */
object Files {
    /** A file whose description is a description of a classifier with changes made to it. */
    fun model(change: JSONObject.() -> Unit = {}): ByteBuffer =
        around(JSONObject(TOLD).apply(change))

    fun around(description: JSONObject): ByteBuffer = around(description.toString().toByteArray())

    /** The same with any text for a description. */
    fun around(json: ByteArray): ByteBuffer {
        val zip = ByteArrayOutputStream()
        ZipOutputStream(zip).use { out ->
            out.setMethod(ZipOutputStream.STORED)
            val entry = ZipEntry("kerascnn.json")
            entry.size = json.size.toLong()
            entry.crc = CRC32().apply { update(json) }.value
            out.putNextEntry(entry)
            out.write(json)
        }
        val model = byteArrayOf(24, 0, 0, 0) + "TFL3".toByteArray() + ByteArray(50)
        return ByteBuffer.wrap(model + zip.toByteArray())
    }

    private val TOLD = """
        {"format": 1, "task": "classification", "model": "tiny", "variant": "float32",
         "name": "Tiny", "description": "of a test", "author": "", "license": "Apache-2.0",
         "version": "1", "labels": ["bär", "고양이", "c"],
         "input": {"name": "image", "height": 4, "width": 6, "channels": 3, "type": "float32",
                   "values": "(byte - mean) / std", "mean": [127, 127, 127],
                   "std": [128, 128, 128], "colour": "RGB", "order": "rgb", "resize": "stretch",
                   "crop_fraction": 1.0},
         "outputs": [{"name": "logits", "shape": [1, 3], "type": "float32", "meaning": "logits",
                      "tensor": "StatefulPartitionedCall:0"}],
         "decoding": {"kind": "logits"}}
    """
}

/** Assert that something is refused, as that kind of problem. */
fun assertRefused(kind: ModelProblem.Kind, detail: String? = null, work: () -> Unit) {
    val problem = try {
        work()
        throw AssertionError("nothing was refused; $kind was expected")
    } catch (problem: ModelProblem) {
        problem
    }
    assertEquals(kind, problem.kind)
    if (detail != null) assertEquals(detail, problem.detail)
}
